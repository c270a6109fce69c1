"""Kubernetes objects that people give where no cluster mirrors them: the API's rules for them, and their place in the store."""
