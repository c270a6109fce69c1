"""`romana config`: whether a configuration would be accepted."""

from pathlib import Path
from typing import Annotated

import typer

from romana.cli.output import Output, OutputOption, print_json
from romana.config import load

__all__ = ["app"]

app = typer.Typer(help="The configuration of daemons and command line.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `check` a command of its own while it is the only one."""


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="In place of ROMANA_CONFIG and the default.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Name every fault at once, files that cannot be read too, exit 2; or print what would be in force."""
    config = load(file)
    config.etcd.credentials().check()
    if output is Output.JSON:
        print_json(config.model_dump())
        return
    for section, values in config.model_dump().items():
        for key, value in values.items():
            typer.echo(f"{section}.{key} = {value!r}")
