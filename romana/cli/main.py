"""Wires the commands together and turns errors into one clear line and an exit code."""

import logging
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from romana.cli import bench, block, configuration, ipam, lab, node, objects, policy, status, store, topology
from romana.cli.context import Exit, exit_code, set_config_path
from romana.cli.output import say
from romana.errors import RomanaError

__all__ = ["app", "main"]

app = typer.Typer(
    name="romana",
    help="A routed pod network: addresses that follow the topology, no overlay. Every read command takes -o json.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(topology.app, name="topology")
app.add_typer(node.app, name="node")
app.add_typer(block.app, name="block")
app.add_typer(ipam.app, name="ipam")
app.add_typer(policy.app, name="policy")
app.add_typer(store.app, name="store")
app.add_typer(configuration.app, name="config")
app.add_typer(lab.app, name="lab")
app.add_typer(bench.app, name="bench")
app.command(name="status")(status.status)
app.command(name="apply")(objects.apply)
app.command(name="get")(objects.get)
app.command(name="delete")(objects.delete)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"romana {version('romana-network')}")
        raise typer.Exit


@app.callback()
def _options(
    config: Annotated[Path | None, typer.Option(help="Configuration file, in place of ROMANA_CONFIG.", dir_okay=False)] = None,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    if config:
        set_config_path(config)


def main() -> None:
    """Entry point."""
    # Daemons log; commands speak by their answers and errors, and retry meanwhile.
    logging.disable(logging.WARNING)
    try:
        app()
    except RomanaError as err:
        say(f"error: {err}")
        sys.exit(exit_code(err))
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(Exit.COULD_NOT_TELL)
    finally:
        logging.disable(logging.NOTSET)
