"""`romana node install` and `uninstall` in folders of their own: what is written, when, and what is left alone."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cni.compiling import compiled_shim
from cni.install import Shim, install_binary
from romana.errors import NotFound

ROMANA = str(Path(sys.executable).parent / "romana")


class Machine:
    """Folders, and a socket where an agent may answer."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.conf = folder / "bin", folder / "net.d"
        self.socket = folder / "agent.sock"
        self.conflist = self.conf / "10-romana.conflist"

    def romana(self, *arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        """`romana node ...` on these folders."""
        places = ["--cni-bin-dir", str(self.bin), "--cni-conf-dir", str(self.conf)]
        environ = {"ROMANA_AGENT_SOCKET": str(self.socket), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        command = [ROMANA, "node", *arguments, *places]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == code, done
        return done

    def install(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Its JSON."""
        done = self.romana("install", "-o", "json", "--shim", "python", *arguments, code=code)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def plugins(self) -> list[dict[str, Any]]:
        """Of our configuration."""
        return list(json.loads(self.conflist.read_text())["plugins"])


@pytest.fixture
def bare(tmp_path: Path) -> Machine:
    """No folder is there, and no agent."""
    return Machine(tmp_path)


@pytest.fixture
def machine(bare: Machine) -> Iterator[Machine]:
    """An agent listens; a runtime's folders are there."""
    bare.bin.mkdir()
    bare.conf.mkdir()
    with listening(bare.socket):
        yield bare


class listening:  # noqa: N801 - used like a function
    """An agent that takes connections."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(self._path))
        self._socket.listen()

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def test_everything_is_written_and_again_changes_nothing(machine: Machine) -> None:
    first = machine.install()
    assert (first["changed"], first["shim"], first["others"], first["made"]) == (True, "python", [], [])
    assert first["binary"] == str(machine.bin / "romana")
    assert (machine.bin / "romana.socket").read_text() == f"{machine.socket}\n"
    before = {path: path.stat().st_ino for path in machine.bin.parent.rglob("romana*")}
    assert machine.install()["changed"] is False
    assert before == {path: path.stat().st_ino for path in machine.bin.parent.rglob("romana*")}
    assert machine.plugins() == [{"type": "romana"}]


def test_folders_are_no_configurations_and_odd_ones_are_named_as_they_are(machine: Machine) -> None:
    (machine.conf / "05-folder.conflist").mkdir()
    (machine.conf / "06-list.conflist").write_text('{"name": "odd", "plugins": 5}')
    (machine.conf / "07-link.conf").symlink_to(machine.conf / "05-folder.conflist")
    found = machine.install(code=1)["others"]
    assert [(Path(other["path"]).name, other["name"]) for other in found] == [("06-list.conflist", "odd"), ("07-link.conf", "")]


def test_absent_folders_are_made_and_named(bare: Machine) -> None:
    with listening(bare.socket):
        done = bare.romana("install", "--shim", "python")
    assert f"{bare.conf} was not there and was made" in done.stderr


def test_without_an_agent_the_configuration_is_not_written_and_the_way_out_is_told(bare: Machine) -> None:
    done = bare.romana("install", "--shim", "python", "--wait", "0.2", code=3)
    assert str(bare.socket) in done.stderr
    assert "start romana-agent" in done.stderr
    assert (bare.bin / "romana").exists()
    assert not bare.conflist.exists()


def test_agent_that_comes_late_is_waited_for(bare: Machine) -> None:
    bare.conf.mkdir()
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(bare.socket))  # bound, and refusing until it listens
        timer = threading.Timer(1.0, agent.listen)
        timer.start()
        assert bare.install()["changed"]
        timer.join()


def test_another_network_before_ours_is_exit_code_1_and_left_alone(machine: Machine) -> None:
    foreign = machine.conf / "05-cilium.conflist"
    foreign.write_text('{"name": "cilium", "plugins": []}')
    after = machine.conf / "87-podman.conflist"
    after.write_text("no JSON")
    found = machine.install(code=1)["others"]
    assert [(Path(each["path"]).name, each["name"], each["comes_first"]) for each in found] == [
        ("05-cilium.conflist", "cilium", True),
        ("87-podman.conflist", "", False),
    ]
    assert foreign.read_text() == '{"name": "cilium", "plugins": []}'
    assert machine.conflist.exists()


def test_standard_plugins_are_chained_where_they_are_installed(machine: Machine) -> None:
    (machine.bin / "portmap").touch()
    assert machine.install()["chained"] == ["portmap"]
    assert machine.plugins()[1] == {"type": "portmap", "capabilities": {"portMappings": True}}
    assert machine.install("--no-port-mapping")["chained"] == []


def test_a_standard_plugin_that_is_asked_for_and_absent_is_a_usage_error(machine: Machine) -> None:
    done = machine.romana("install", "--bandwidth", code=2)
    assert "containernetworking-plugins" in done.stderr
    assert not machine.conflist.exists()


def test_mtu_and_name_go_into_the_configuration(machine: Machine) -> None:
    machine.install("--mtu", "1400", "--name", "pods")
    assert machine.plugins() == [{"type": "romana", "mtu": 1400}]
    assert json.loads(machine.conflist.read_text())["name"] == "pods"
    assert "--mtu 5 is too small" in machine.romana("install", "--mtu", "5", code=2).stderr


def test_uninstall_removes_what_was_written_and_nothing_else_and_may_be_repeated(machine: Machine) -> None:
    machine.install()
    (machine.bin / "loopback").touch()
    removed = json.loads(machine.romana("uninstall", "-o", "json").stdout)["removed"]
    assert removed[0] == str(machine.conflist)
    assert [path.name for path in sorted(machine.bin.iterdir())] == ["loopback"]
    assert json.loads(machine.romana("uninstall", "-o", "json").stdout)["removed"] == []


def test_a_configuration_of_our_name_that_is_anothers_is_left_alone(machine: Machine) -> None:
    machine.conf.joinpath("10-romana.conflist").write_text('{"name": "x", "plugins": [{"type": "bridge"}]}')
    assert "bridge" in machine.romana("uninstall", code=4).stderr
    assert machine.conflist.exists()


def test_compiled_shim_is_what_the_compiler_makes_and_auto_falls_back_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    compiled_shim.cache_clear()
    kind, why, changed = install_binary(tmp_path / "bin", "/run/a.sock", Shim.AUTO)
    assert (kind, changed) == (Shim.PYTHON, True)
    assert "no C compiler" in why
    with pytest.raises(NotFound, match="apt-get install gcc"):
        install_binary(tmp_path / "bin", "/run/a.sock", Shim.C)
    monkeypatch.undo()
    compiled_shim.cache_clear()
    kind, why, changed = install_binary(tmp_path / "bin", "/run/a.sock", Shim.C)
    assert (kind, why, changed) == (Shim.C, "", True)
    assert (tmp_path / "bin" / "romana").read_bytes()[:4] == b"\x7fELF"


def test_what_is_foreign_under_our_names_is_refused_and_left(machine: Machine) -> None:
    (machine.bin / "romana").write_text("#!/bin/sh\n")
    assert "another program" in machine.romana("install", "--shim", "python", code=4).stderr
    (machine.bin / "romana").unlink()
    machine.conflist.write_text('{"name": "x", "plugins": [{"type": "bridge"}]}')
    assert "bridge" in machine.romana("install", "--shim", "python", code=4).stderr
    assert "bridge" in machine.conflist.read_text()
    assert not (machine.bin / "romana").exists()


@pytest.mark.parametrize("arguments", [["--mtu", "-5"], ["--name", ""], ["--name", "../x"], ["--name", "x" * 300]])
def test_what_the_agent_would_refuse_is_not_written(machine: Machine, arguments: list[str]) -> None:
    machine.romana("install", "--shim", "python", *arguments, code=2)
    assert not machine.conflist.exists()


def test_a_folder_that_cannot_be_written_is_a_line_and_leaves_nothing_half(machine: Machine) -> None:
    machine.conflist.mkdir()
    done = machine.romana("install", "--shim", "python", code=4)
    assert "Traceback" not in done.stderr
    assert not list(machine.conf.glob(".*"))
    machine.conflist.rmdir()
    machine.bin.joinpath("romana").unlink(missing_ok=True)
    machine.bin.joinpath("romana").mkdir()
    done = machine.romana("install", "--shim", "python", code=4)
    assert "Traceback" not in done.stderr
