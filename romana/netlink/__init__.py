"""Raw rtnetlink: messages as bytes, batches in one send, sockets in other network namespaces.

pyroute2 does the same with ten times the time per ADD (docs/adr/0002-cni-shim-and-agent.md); daemons that are not in a pod's way
may use it.
"""
