"""Kubernetes objects that people hand to us where no cluster mirrors them: the API's rules for them, and their place in the store."""
