"""A cluster of network namespaces on one machine: real etcd, real daemons, real pods by the real CNI binary.

    romana lab up -> LabSpec -> namespaces and links -> supervisor -> etcd, ipamd, per node: agent, routed
                                     |                     |
                          /run/netns/<lab>-<thing>   restarts what dies, by pidfd; adopts what outlived it

Nothing is configured in the machine's own network namespace. Everything of a lab is named after it and lies in two folders,
`/run/romana-lab/<lab>` and `/var/lib/romana-lab/<lab>`, so `romana lab down` finds all of it also when a lab was killed half-way.
"""
