"""Names that we give, and the checks of those that come from outside."""

import pytest

from romana.names import host_interface, is_label_key, is_label_value, is_namespace_name, is_node_name


def test_host_interface_is_fifteen_bytes_stable_and_its_own_for_every_part() -> None:
    base = ("node", "conf", "container", "eth0")
    name = host_interface(*base)
    assert name == host_interface(*base)
    assert (len(name), name[:3]) == (15, "rom")
    others = {host_interface(*(part + "x" if index == place else part for index, part in enumerate(base))) for place in range(4)}
    assert len({name, *others, host_interface("nodeconf", "", "container", "eth0")}) == 6


@pytest.mark.parametrize(("name", "ok"), [("a", True), ("a-1.b", True), ("A", False), ("-a", False), ("a/b", False), ("", False)])
def test_node_names_are_dns_subdomains(name: str, ok: bool) -> None:
    assert is_node_name(name) is ok
    assert not is_node_name("a" * 254)


@pytest.mark.parametrize(("name", "ok"), [("default", True), ("a.b", False), ("a" * 63, True), ("a" * 64, False), ("a\n", False)])
def test_namespaces_are_dns_labels(name: str, ok: bool) -> None:
    assert is_namespace_name(name) is ok


@pytest.mark.parametrize(
    ("key", "ok"),
    [
        ("app", True),
        ("a.b/c_d", True),
        ("A.b/c", False),
        ("/c", False),
        ("a/", False),
        ("a/b/c", False),
        ("-a", False),
        ("a" * 64, False),
    ],
)
def test_label_keys(key: str, ok: bool) -> None:
    assert is_label_key(key) is ok


@pytest.mark.parametrize(
    ("value", "ok"), [("", True), ("a", True), ("A_b.c-1", True), ("-a", False), ("a b", False), ("a\n", False)]
)
def test_label_values(value: str, ok: bool) -> None:
    assert is_label_value(value) is ok
