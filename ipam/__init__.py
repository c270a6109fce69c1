"""Address allocation: topology and allocator (pure), store transactions, gRPC services."""
