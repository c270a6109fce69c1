"""Executes a lab node's CNI program as any other runtime would: by the contracts alone, no lab shortcut."""

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Done, Lab, run


@dataclass(slots=True)
class Container:
    """A container of a runtime of our own: its network namespace is made here, not by the lab."""

    lab: Lab
    node: str
    id: str = field(default_factory=lambda: secrets.token_hex(32))
    args: str = ""
    version: str = "1.0.0"

    @property
    def netns(self) -> str:
        """Path of its network namespace."""
        return f"/run/netns/{self.lab.name}-c-{self.id[:12]}"

    def __enter__(self) -> "Container":
        run(["ip", "netns", "add", Path(self.netns).name])
        return self

    def __exit__(self, *_: object) -> None:
        self.call("DEL")
        run(["ip", "netns", "delete", Path(self.netns).name])

    def call(self, command: str, ifname: str = "eth0", netns: str | None = None, extra: dict[str, Any] | None = None) -> Done:
        """One execution from inside the node's namespace."""
        node = self.lab.node(self.node)
        conflist = json.loads(Path(node["conflist"]).read_text())
        stdin = {**conflist["plugins"][0], "name": conflist["name"], "cniVersion": self.version, **(extra or {})}
        environ = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": self.id,
            "CNI_NETNS": self.netns if netns is None else netns,
            "CNI_IFNAME": ifname,
            "CNI_PATH": node["cni_bin_dir"],
            "CNI_ARGS": self.args,
        }
        return run(["nsenter", f"--net={node['netns']}", "--", node["cni_bin"]], json.dumps(stdin), environ)

    def ip(self, *arguments: str) -> Any:
        """`ip -j` inside the container."""
        return run(["ip", "-n", Path(self.netns).name, "-j", *arguments]).json
