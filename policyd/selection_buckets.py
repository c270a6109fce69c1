"""Finds the selectors that select given labels without trying them all. Pure.

Each selector lies in the buckets of one requirement that it cannot do without; labels are looked up in the buckets that they
could satisfy. Selectors without such a requirement (empty, or exclusions only) are tried always.
"""

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from policyd.selector import Operator, Selector

__all__ = ["SelectorBuckets", "anchors"]

K = TypeVar("K")
Bucket = tuple[str | None, str | None, str | None]  # namespace, label's key, label's value; None: any


class SelectorBuckets(Generic[K]):
    """Selectors under keys of the caller's, each for one namespace or (None) for all."""

    def __init__(self) -> None:
        self._buckets: dict[Bucket, dict[K, Selector]] = {}

    def add(self, key: K, namespace: str | None, selector: Selector) -> None:
        """Add a selector; its key must be free."""
        for label, value in anchors(selector):
            self._buckets.setdefault((namespace, label, value), {})[key] = selector

    def remove(self, key: K, namespace: str | None, selector: Selector) -> None:
        """Take back what was added in just these words."""
        for label, value in anchors(selector):
            bucket = self._buckets[namespace, label, value]
            del bucket[key]
            if not bucket:
                del self._buckets[namespace, label, value]

    def matching(self, namespace: str, labels: Mapping[str, str]) -> set[K]:
        """Keys of the selectors that select an object of this namespace with these labels."""
        return {
            key
            for bucket in self._candidates(namespace, labels)
            for key, selector in bucket.items()
            if selector.matches(labels)
        }  # fmt: skip

    def _candidates(self, namespace: str, labels: Mapping[str, str]) -> Iterator[Mapping[K, Selector]]:
        for scope in (namespace, None):
            yield self._buckets.get((scope, None, None), {})
            for label, value in labels.items():
                yield self._buckets.get((scope, label, None), {})
                yield self._buckets.get((scope, label, value), {})


def anchors(selector: Selector) -> list[tuple[str | None, str | None]]:
    """Label pairs of which any selected object has at least one; value None: any value; key None: nothing is sure."""
    listed = [requirement for requirement in selector.requirements if requirement.operator is Operator.IN]
    if listed:
        fewest = min(listed, key=lambda requirement: (len(requirement.values), requirement.key, sorted(requirement.values)))
        return [(fewest.key, value) for value in fewest.values]
    present = [requirement.key for requirement in selector.requirements if requirement.operator is Operator.EXISTS]
    return [(min(present), None)] if present else [(None, None)]
