"""What daemons of nodes say they have put into the kernel, beside what the store holds."""

from collections.abc import Iterable, Mapping

from romana.store.api import Store
from romana.v1.store_pb2 import Receipt

__all__ = ["POLICYD_PREFIXES", "ROUTED_PREFIXES", "behind", "newest_revisions"]

ROUTED_PREFIXES = ("nodes/", "blocks/")
"""What routed watches."""
POLICYD_PREFIXES = ("policies/", "namespaces/")
"""What every policyd watches; pods and endpoints only where its own pods' policies can mean them."""


async def newest_revisions(store: Store, prefixes: Iterable[str]) -> dict[str, int]:
    """Per prefix the mod_revision of the key that was written last; 0 for none. A deletion after it leaves no trace here."""
    return {prefix: max((item.mod_revision for item in (await store.list(prefix)).items), default=0) for prefix in prefixes}


def behind(receipt: Receipt, newest: Mapping[str, int]) -> list[str]:
    """The prefixes of which the daemon does not have the newest revision in the kernel yet."""
    return [prefix for prefix, revision in newest.items() if receipt.applied.get(prefix, 0) < revision]
