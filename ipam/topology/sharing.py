"""What the groups of one list ask for in one network. Pure."""

from collections.abc import Sequence

from ipam.topology.document import Group
from ipam.topology.splitting import Share
from romana.keys import Network

__all__ = ["explicit", "holds", "shares_in"]


def holds(outer: Network, inner: Network) -> bool:
    """Whether one prefix lies in another, or is it."""
    return outer.version == inner.version and inner.prefixlen >= outer.prefixlen and inner.network_address in outer


def explicit(network: Network, group: Group) -> Network | None:
    """The prefix that the document gives the group in this network."""
    return next((cidr for cidr in group.cidrs if holds(network, cidr)), None)


def shares_in(network: Network, groups: Sequence[Group]) -> tuple[Share, ...]:
    """A share for each group, in the order of the document."""
    return tuple(Share(group.weight, explicit(network, group)) for group in groups)
