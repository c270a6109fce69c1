"""Sets of addresses in the kernel (ipset), by netlink."""
