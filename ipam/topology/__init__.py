"""The topology: from the admin's document to prefixes, and from prefixes to where a node stands. Pure.

    bytes --text--> tree --reading, checks--> TopologyDocument --carving--> Prefix, ... --placement--> Placement, ...
                                                                                `--change--> what a new document means for nodes

The format is Romana 2's: `networks`, `topologies`, `map`, `groups`, `assignment`, `routing`, `block_mask`, `tenants`.
"""
