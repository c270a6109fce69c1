"""Routes to the blocks of other nodes, and unreachable routes for those of this node."""
