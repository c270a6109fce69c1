"""gRPC as this project uses it: our errors on the wire, clients with several endpoints, servers with health and reflection."""
