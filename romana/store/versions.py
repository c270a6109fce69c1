"""Which etcd servers are safe to use. Pure.

Source: etcd's CHANGELOG-3.4.md and CHANGELOG-3.5.md, and its "data inconsistency" announcement of April 2022 (etcd#13766).
"""

import re

__all__ = ["unsupported"]

OLDEST = (3, 4, 22)
BAD = {
    (3, 5, 0): "it can lose committed data when it is killed (etcd#13766, mended in 3.5.3)",
    (3, 5, 1): "it can lose committed data when it is killed (etcd#13766, mended in 3.5.3)",
    (3, 5, 2): "it can lose committed data when it is killed (etcd#13766, mended in 3.5.3)",
    (3, 5, 5): "it can lose data when it is defragmented or restored (etcd#14685, mended in 3.5.6)",
}


def unsupported(version: str) -> str | None:
    """Why this etcd must not be used, as a sentence that names the version; None when it may be.

    `version` is what etcd says of itself: "3.4.23", or with a suffix such as "3.5.16-rc.1"."""
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version.strip())
    if match is None:
        return f"etcd's version {version!r} is not of the form MAJOR.MINOR.PATCH"
    number = (int(match[1]), int(match[2]), int(match[3]))
    if number < OLDEST:
        return f"etcd {version} is too old: 3.4.22 is the oldest that keeps a watch and a lease without known loss"
    return f"etcd {version} is refused: {BAD[number]}" if number in BAD else None
