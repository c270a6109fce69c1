"""What an ADD and a DEL ask of the kernel, without anything else: the floor of `romana bench cni`. Blocking."""

import time
from contextlib import closing
from ipaddress import ip_interface

from cni.veth import Veth
from cni.wiring import Wiring
from romana.errors import FatalError
from romana.netlink.links import delete_link
from romana.netlink.pool import Pool
from romana.netlink.queries import find_link

__all__ = ["steps"]


def steps(netns_fd: int) -> tuple[float, float]:
    """Milliseconds of an ADD, and of a DEL that waits for its acknowledgement, in the calling thread's network namespace."""
    wanted = Wiring("rombench", "eth0", "romana:bench", "02:00:00:00:00:01", 1500)
    addresses = (ip_interface("10.98.0.1/32"),)
    with Pool() as pool:
        with closing(Veth(pool, wanted, netns_fd)) as veth:
            began = time.perf_counter()
            veth.create()
            veth.address(addresses)
            veth.wait(veth.open(addresses))
            added = time.perf_counter()
        with pool.borrow() as here:
            link = find_link(here, "rombench")
            if link is None:
                raise FatalError("rombench is gone")
            here.run(delete_link(link.index, link.name))
    return (added - began) * 1000, (time.perf_counter() - added) * 1000
