"""A topology document as `romana topology show -o json` prints it: with what follows from it, and so not yet a document.

`show` puts the document under `document`, beside generation, revision, prefixes and what stands out. Whoever pipes that into
`plan` or `apply` means the document, and no document has a key `document`: it is taken out, and anything else is left to ipamd as
it stands.
"""

import json
from typing import Any

from romana.cli.files import read_document
from romana.errors import UsageError
from romana.v1.topology_pb2 import ShowResponse

__all__ = ["document_in", "read_topology_file"]

SHOWN = {field.name for field in ShowResponse.DESCRIPTOR.fields}


def read_topology_file(file: str) -> bytes:
    """The document in a file, or in standard input for `-`; raises UsageError when it cannot be read, or holds none."""
    return document_in(read_document(file))


def document_in(raw: bytes) -> bytes:
    """The document of what `show -o json` printed; any other bytes as they are."""
    shown = _object(raw)
    if "document" not in shown or not shown.keys() <= SHOWN:
        return raw
    if shown["document"] is None:
        raise UsageError("no topology was in force when that was shown: there is no document in it")
    return json.dumps(shown["document"]).encode()


def _object(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):  # YAML, or nothing that can be read: ipamd says what is wrong
        return {}
    return found if isinstance(found, dict) else {}
