"""Our text keys as etcd's bytes, below one prefix, and etcd's ranges. Pure."""

from dataclasses import dataclass

from romana.errors import InvalidInput

__all__ = ["Keyspace"]


@dataclass(frozen=True, slots=True)
class Keyspace:
    """Everything below `prefix` ("/romana/v1/"); keys of the store's interface are relative to it."""

    prefix: str

    def __post_init__(self) -> None:
        """Refuse the empty prefix: it would claim every key of an etcd that others use too."""
        if not self.prefix:
            raise InvalidInput("the store's prefix is empty; '/romana/v1/' is the usual one")

    def encode(self, key: str) -> bytes:
        """The key as etcd knows it."""
        return (self.prefix + key).encode()

    def decode(self, key: bytes) -> str:
        """The key relative to the prefix; only for keys that etcd found below it."""
        return key.decode()[len(self.prefix) :]

    def end(self, key: str, prefix: bool) -> bytes:
        """The end of the range: empty for the key alone, else the first key after all that begin with `key`.

        The last byte of UTF-8 text is never 0xff, so adding one to it cannot overflow."""
        if not prefix:
            return b""
        start = self.encode(key)
        return start[:-1] + bytes([start[-1] + 1])

    @staticmethod
    def after(key: bytes) -> bytes:
        """The smallest key that is greater than this one."""
        return key + b"\0"
