"""JSON of the command line: what scripts rely on."""

import json
from ipaddress import ip_network

import pytest

from ipam.blocks import ranges_of
from romana.cli.block import tally
from romana.cli.output import as_dict
from romana.cli.store import decoded
from romana.errors import FatalError, InvalidInput
from romana.store.api import KeyValue
from romana.v1.ipam_pb2 import LOOKUP_STATE_COOLING, LookupResponse
from romana.v1.store_pb2 import (
    ADDRESS_STATE_COOLING,
    ADDRESS_STATE_HELD,
    NODE_STATE_READY,
    SOURCE_APPLY,
    Address,
    Block,
    Node,
    Placement,
    Pod,
    Receipt,
    TopologyRecord,
)


def item(key: str, value: bytes) -> KeyValue:
    return KeyValue(key, value, create_revision=1, mod_revision=2, version=1)


def test_numbers_of_64_bits_are_numbers_in_maps_too() -> None:
    assert as_dict(TopologyRecord(generation=2**60))["generation"] == 2**60
    assert as_dict(Receipt(applied={"nodes/": 7}))["applied"] == {"nodes/": 7}


def test_enums_are_lower_case_words_without_the_name_of_the_enum() -> None:
    assert as_dict(Node(state=NODE_STATE_READY))["state"] == "ready"
    assert as_dict(Node())["state"] == "unspecified"
    assert as_dict(Address(state=ADDRESS_STATE_HELD))["state"] == "held"
    assert as_dict(Pod(source=SOURCE_APPLY))["source"] == "apply"
    assert as_dict(LookupResponse(state=LOOKUP_STATE_COOLING))["state"] == "cooling"


def test_names_labels_times_and_nested_messages_stay_what_they_are() -> None:
    node = as_dict(Node(name="NODE_STATE_READY", labels={"a": "1"}, placements=[Placement(network="pods")]))
    assert (node["name"], node["labels"], node["placements"][0]["network"]) == ("NODE_STATE_READY", {"a": "1"}, "pods")
    address = Address()
    address.released.FromJsonString("2026-01-02T03:04:05Z")
    assert as_dict(address)["released"] == "2026-01-02T03:04:05Z"
    assert "since" not in as_dict(address)


def test_a_document_in_the_store_is_shown_as_json() -> None:
    found = decoded(item("topology", TopologyRecord(document=b'{"networks": []}', generation=3).SerializeToString()))
    assert found["value"]["document"] == {"networks": []}
    assert (found["value"]["generation"], found["mod_revision"]) == (3, 2)
    assert decoded(item("topology", TopologyRecord(document=b"\xff").SerializeToString()))["value"]["document"] == "/w=="
    json.dumps(found)


def test_what_is_no_key_or_no_message_of_ours_is_an_error() -> None:
    with pytest.raises(InvalidInput, match="foreign/key"):
        decoded(item("foreign/key", b""))
    with pytest.raises(FatalError, match="nodes/a holds no Node"):
        decoded(item("nodes/a", b"\xff\xff"))


@pytest.mark.parametrize(("now_s", "cooling"), [(1000, 1), (1029.9, 1), (1030, 0), (5000, 0)])
def test_an_address_is_cooling_until_its_cool_down_is_over_then_free(now_s: float, cooling: int) -> None:
    block = "10.40.0.0/28"
    held = Address(state=ADDRESS_STATE_HELD, block=block)
    released = Address(state=ADDRESS_STATE_COOLING, block=block, cooldown_s=30)
    released.released.FromSeconds(1000)
    addresses = [
        item("addresses/pods/10.40.0.1", held.SerializeToString()),
        item("addresses/pods/10.40.0.2", released.SerializeToString()),
    ]
    (row,) = tally([item("blocks/pods/10.40.0.0_28", Block(node="a").SerializeToString())], addresses, now_s, {})
    assert (row["held"], row["cooling"], row["free"]) == (1, cooling, 15 - cooling)


def test_reserved_addresses_are_not_free() -> None:
    block, network = "10.40.0.0/28", ip_network("10.40.0.0/29")
    held = Address(state=ADDRESS_STATE_HELD, block=block)
    cooled = Address(state=ADDRESS_STATE_COOLING, block=block)
    addresses = [
        item("addresses/pods/10.40.0.1", held.SerializeToString()),
        item("addresses/pods/10.40.0.2", cooled.SerializeToString()),
    ]
    owned = [item("blocks/pods/10.40.0.0_28", Block(node="a").SerializeToString())]
    (row,) = tally(owned, addresses, 1000.0, {"pods": ranges_of([network])})
    assert (row["held"], row["cooling"], row["reserved"], row["free"]) == (1, 0, 7, 8)
