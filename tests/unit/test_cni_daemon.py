"""The agent's command line: a configuration that cannot work ends it with 2 and names the field."""

import asyncio
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from cni.agent_journal import Journal
from cni.agent_pending import PendingReleases
from cni.agent_server import AgentServer
from romana.errors import ConfigError
from tests.fakes.cni_node import until


@pytest.mark.parametrize(
    ("text", "named"), [("[agent]\nmtu = 5\n", "agent.mtu"), ('[node]\nname = "A_b"\n', "node.name"), ("[", "TOML")]
)
def test_wrong_configuration_ends_it_with_2(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    command = [sys.executable, "-c", "from cni.daemon import main; main()", "--config", str(tmp_path / "config.toml")]
    ran = subprocess.run(command, capture_output=True, check=False, timeout=60, text=True)
    assert ran.returncode == 2
    assert named in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("kind", [PendingReleases, Journal])
def test_state_dir_that_cannot_be_made_is_named(tmp_path: Path, kind: type[PendingReleases | Journal]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"agent\.state_dir"):
        kind(tmp_path / "file" / "state")


def test_state_dir_that_is_read_only_is_named() -> None:
    with pytest.raises(ConfigError, match=r"agent\.state_dir"):
        PendingReleases(Path("/proc/sys"))


async def test_folder_of_the_socket_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    async def answer(*_: object) -> tuple[int, bytes]:
        return 0, b""

    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"agent\.socket"):
        await AgentServer(tmp_path / "file" / "agent.sock", answer).start()


async def test_agent_that_ends_leaves_the_next_ones_socket_alone(tmp_path: Path) -> None:
    """The next one may be there before the calls of the first have ended."""
    path, entered, leave = tmp_path / "agent.sock", asyncio.Event(), asyncio.Event()

    async def answer(*_: object) -> tuple[int, bytes]:
        entered.set()
        await leave.wait()
        return 0, b""

    first, second = AgentServer(path, answer), AgentServer(path, answer)
    await first.start()
    _, writer = await asyncio.open_unix_connection(path)
    writer.write(struct.pack(">4sII", b"ROM1", 0, 0))
    await entered.wait()
    stopping = asyncio.create_task(first.stop())
    await until(lambda: first._listener is not None and first._listener.fileno() < 0, 60)
    await second.start()
    leave.set()
    await stopping
    assert path.is_socket()
    writer.close()
    await second.stop()
    assert not path.exists()
