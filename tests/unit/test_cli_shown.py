"""What `topology show -o json` prints may be piped as it is; and every command of the lab names the lab by one option."""

import json
from typing import Any

import pytest
import typer

from romana.cli.lab import app
from romana.cli.shown import document_in
from romana.errors import UsageError

DOCUMENT = {"networks": [{"name": "pods", "cidr": "10.40.0.0/16"}], "topologies": []}
SHOWN: dict[str, Any] = {"document": DOCUMENT, "generation": 3, "revision": 9, "prefixes": []}


def test_the_document_is_taken_out_of_what_show_printed() -> None:
    assert json.loads(document_in(json.dumps(SHOWN, indent=2).encode())) == DOCUMENT


@pytest.mark.parametrize(
    "raw",
    [
        json.dumps(DOCUMENT).encode(),
        b"networks: []\n",
        b"",
        b"\xff",
        b"[1]",
        json.dumps({**SHOWN, "networks": []}).encode(),
        json.dumps({"topology": DOCUMENT, "nodes": []}).encode(),
    ],
)
def test_anything_else_is_left_as_it_stands(raw: bytes) -> None:
    assert document_in(raw) == raw


def test_where_nothing_was_in_force_there_is_nothing_to_apply() -> None:
    with pytest.raises(UsageError, match="no topology was in force"):
        document_in(json.dumps({**SHOWN, "document": None}).encode())


def commands(group: Any, path: str = "") -> list[tuple[str, Any]]:
    found = getattr(group, "commands", None)
    if found is None:
        return [(path, group)]
    return [leaf for name, command in found.items() for leaf in commands(command, f"{path} {name}".strip())]


def test_every_command_of_the_lab_takes_both_names_of_the_option() -> None:
    options = {
        path: {word for parameter in command.params for word in parameter.opts}
        for path, command in commands(typer.main.get_command(app))
        if path not in {"list", "demo"}
    }
    assert {"up", "down", "status", "pod add", "pod del", "pod list", "pod exec"} <= options.keys()
    assert [path for path, words in options.items() if not {"--name", "--lab"} <= words] == []
