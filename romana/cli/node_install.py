"""`romana node install` and `uninstall`: the CNI plugin on this machine."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from cni import install as cni
from cni.install import BANDWIDTH, CONFLIST, PORT_MAPPING, Chained, Found, Shim
from cni.netconf import NAME_RULE, is_name
from romana.cli.context import Exit, config, run
from romana.cli.output import Output, OutputOption, print_json, say
from romana.config import MTU_MAX, MTU_MIN
from romana.errors import Refused, Unavailable, UsageError

__all__ = ["install", "uninstall"]

POLL_S = 0.1
PROGRESS_S = 2.0

BinOption = Annotated[Path, typer.Option(help="Where the runtime looks for plugins.", file_okay=False)]
ConfOption = Annotated[Path, typer.Option(help="Where the runtime looks for network configurations.", file_okay=False)]
BIN_DIR, CONF_DIR = Path("/opt/cni/bin"), Path("/etc/cni/net.d")


def install(
    cni_bin_dir: BinOption = BIN_DIR,
    cni_conf_dir: ConfOption = CONF_DIR,
    name: Annotated[str, typer.Option(help="Name of the network in its configuration.")] = "romana",
    shim: Annotated[Shim, typer.Option(help="auto: compiled where there is a C compiler.")] = Shim.AUTO,
    mtu: Annotated[int, typer.Option(help="MTU of pod interfaces; 0: that of the uplink.", max=MTU_MAX)] = 0,
    port_mapping: Annotated[bool | None, typer.Option(help="Chain portmap (hostPort); default: where it is installed.")] = None,
    bandwidth: Annotated[bool | None, typer.Option(help="Chain bandwidth; default: where it is installed.")] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the agent before giving up.", min=0)] = 30.0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Install the plugin; the network configuration last, and only once the agent answers. Safe to repeat.

    Exit 0: runtimes will use it. Exit 1: it is installed, but another configuration comes before it. Exit 3: the agent does not
    answer, and no configuration was written.
    """
    if mtu and mtu < MTU_MIN:
        raise UsageError(f"--mtu {mtu} is too small: it takes 0 or at least {MTU_MIN}")
    if not is_name(name):
        raise UsageError(f"--name {name!r} cannot name a network; {NAME_RULE}")
    cni.refuse_foreign(cni_bin_dir, cni_conf_dir)
    made = [str(folder) for folder in (cni_bin_dir, cni_conf_dir) if not folder.exists()]
    chained = _chained(cni_bin_dir, port_mapping, bandwidth)
    socket = config().agent.socket
    with _told():
        kind, why, changed = cni.install_binary(cni_bin_dir, socket, shim)
    _announce(made, kind, why, cni_bin_dir)
    run(_agent_answers(socket, wait))
    with _told():
        conflist, conf_changed = cni.install_conflist(cni_conf_dir, name, options={"mtu": mtu} if mtu else {}, chained=chained)
    found = cni.others(cni_conf_dir)
    answer: dict[str, Any] = {
        "binary": str(cni_bin_dir / cni.BINARY),
        "shim": kind.value,
        "why_not_c": why,
        "socket": socket,
        "conflist": str(conflist),
        "chained": [plugin.type for plugin in chained],
        "made": made,
        "changed": changed or conf_changed,
        "others": [{"path": str(each.path), "name": each.name, "comes_first": each.comes_first} for each in found],
    }
    if output is Output.JSON:
        print_json(answer)
    else:
        typer.echo(f"{answer['binary']} ({kind.value}), {conflist}: {'written' if answer['changed'] else 'were there, just so'}")
    raise typer.Exit(_tell(found))


def uninstall(cni_bin_dir: BinOption = BIN_DIR, cni_conf_dir: ConfOption = CONF_DIR, output: OutputOption = Output.TABLE) -> None:
    """Remove plugin and network configuration, the configuration first; what is not ours stays. Safe to repeat.

    Pods that run keep their network; their DELs fail until the plugin is back.
    """
    with _told():
        removed = [str(path) for path in cni.uninstall(cni_bin_dir, cni_conf_dir)]
    if output is Output.JSON:
        print_json({"removed": removed, "others": [str(each.path) for each in cni.others(cni_conf_dir)]})
    else:
        typer.echo(f"removed: {', '.join(removed)}" if removed else "nothing of ours was there")


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """A file that cannot be written is told in a line, with its name."""
    try:
        yield
    except OSError as err:
        raise Refused(f"{err.filename2 or err.filename}: {err.strerror}; make room for it, or use another folder") from err


def _chained(bin_dir: Path, port_mapping: bool | None, bandwidth: bool | None) -> list[Chained]:
    wanted = []
    for plugin, asked, option in ((PORT_MAPPING, port_mapping, "--port-mapping"), (BANDWIDTH, bandwidth, "--bandwidth")):
        there = (bin_dir / plugin.type).exists()
        if asked and not there:
            way_out = "apt-get install containernetworking-plugins has it, in /usr/lib/cni"
            raise UsageError(f"{option}: {bin_dir} has no {plugin.type}; {way_out}")
        if there and asked is not False:
            wanted.append(plugin)
    return wanted


def _announce(made: list[str], kind: Shim, why: str, bin_dir: Path) -> None:
    for folder in made:
        say(f"{folder} was not there and was made; is the runtime configured to look there?")
    if why:
        say(f"the plugin is the {kind.value} one, 4 ms slower at every call: {why}")
    say(f"plugin installed in {bin_dir}; waiting for the agent before the network configuration is written")


async def _agent_answers(socket: str, wait_s: float) -> None:
    began = told = time.monotonic()
    while True:
        try:
            _, writer = await asyncio.open_unix_connection(socket)
        except OSError as err:
            now = time.monotonic()
            if now - began >= wait_s:
                way_out = "start romana-agent (its log says why it does not), then run this again"
                raise Unavailable(f"no agent answers on {socket} ({err.strerror}); {CONFLIST} is not written: {way_out}") from err
            if now - told >= PROGRESS_S:
                told = now
                say(f"  {now - began:.0f} s: no agent on {socket} yet")
            await asyncio.sleep(POLL_S)
            continue
        writer.close()
        await writer.wait_closed()
        return


def _tell(found: list[Found]) -> Exit:
    for each in found:
        place = "comes before ours, so runtimes use it and not ours" if each.comes_first else "comes after ours"
        say(f"{each.path} (network {each.name or 'unknown'}) {place}; it is left alone")
    return Exit.FOUND if any(each.comes_first for each in found) else Exit.FINE
