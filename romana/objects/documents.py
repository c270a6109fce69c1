"""The documents of a manifest as JSON values: YAML with several documents, or JSON. Pure."""

import json
from collections.abc import Iterator

from romana.errors import InvalidInput
from romana.objects.json_values import Json, JsonObject
from romana.objects.scalars import integer
from romana.objects.yaml_reading import read_yaml

__all__ = ["SIZE_MAX", "read_documents"]

SIZE_MAX = 3 * 2**20  # the API server's own limit for a request body


def read_documents(text: bytes) -> list[Json]:
    """All documents that are not empty; raises InvalidInput for what is neither YAML nor JSON."""
    if len(text) > SIZE_MAX:
        raise InvalidInput(f"the manifest has {len(text)} bytes; the limit is {SIZE_MAX}")
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise InvalidInput(f"the manifest is not UTF-8: {err}") from err
    found = _json_documents(decoded) if decoded.lstrip().startswith("{") else None
    documents = list(read_yaml(decoded)) if found is None else found
    return [document for document in documents if document is not None]


def _json_documents(text: str) -> list[Json] | None:
    """JSON objects one after another, as kubectl takes them; None when it is no JSON, and may be YAML that looks like it."""
    try:
        return list(_json_stream(text))
    except (ValueError, RecursionError):
        return None


def _json_stream(text: str) -> Iterator[Json]:
    decoder = json.JSONDecoder(object_pairs_hook=JsonObject, parse_int=integer, parse_constant=_no_constant)
    position, end = 0, len(text)
    while position < end:
        if text[position].isspace():
            position += 1
            continue
        value: Json
        value, position = decoder.raw_decode(text, position)
        yield value


def _no_constant(name: str) -> float:
    """NaN and Infinity are Python's, not JSON's."""
    raise ValueError(f"{name} is not JSON")
