"""The CNI plugin: a thin shim that the runtime executes, and the node agent that does the work."""
