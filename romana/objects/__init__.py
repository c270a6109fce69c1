"""Kubernetes objects that people hand to us where no cluster mirrors them: their checks, and their place in the store."""
