"""Waiting between attempts, and saying once that something is away and once that it is back."""

import logging
import random
from collections.abc import Iterator

__all__ = ["Outage", "pauses"]


def pauses(first_s: float = 0.05, most_s: float = 1.0) -> Iterator[float]:
    """Seconds to wait before each next attempt: doubled up to `most_s`, each drawn between half and the whole of it."""
    limit_s = first_s
    while True:
        yield limit_s * random.uniform(0.5, 1.0)  # noqa: S311 (spreads load; no secret)
        limit_s = min(most_s, limit_s * 2)


class Outage:
    """One line when attempts begin to fail, one for each other kind of failure that follows, one when they succeed again.

    And the pause before each next attempt."""

    def __init__(self, log: logging.Logger, what: str, **fields: object) -> None:
        """`what` names the work for a person ("watch", "listing"); `fields` go into every line."""
        self._log = log
        self._what = what
        self._fields = fields
        self._pauses: Iterator[float] | None = None
        self._said: set[type[Exception]] = set()

    def failed(self, err: Exception) -> float:
        """Note a failure; the answer is how many seconds to wait."""
        if self._pauses is None:
            self._pauses = pauses()
            self._said.clear()
        if type(err) not in self._said:
            self._said.add(type(err))
            self._log.warning("%s interrupted, will retry", self._what, extra={**self._fields, "error": str(err)})
        return next(self._pauses)

    def over(self) -> None:
        """Note a success."""
        if self._pauses is not None:
            self._pauses = None
            self._log.info("%s resumed", self._what, extra=self._fields)
