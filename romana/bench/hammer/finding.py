"""What contradicts an invariant. Pure."""

from dataclasses import dataclass

__all__ = ["Finding"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A contradiction, with its evidence."""

    invariant: str
    """"I1" to "I14"; docs/hammer.md."""
    text: str
    keys: tuple[str, ...] = ()
    """Keys of the store that show it."""
    revision: int = 0
    """Of the store, at which it was seen; 0: in answers."""

    def __str__(self) -> str:
        where = f" at revision {self.revision}" if self.revision else ""
        return f"{self.invariant}{where}: {self.text}"
