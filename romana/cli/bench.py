"""`romana bench NAME`: measures this machine and prints the figures beside a peer or a limit."""

from pathlib import Path
from typing import Annotated

import typer

from romana.bench.report import Report
from romana.cli.context import run
from romana.cli.output import Output, OutputOption, print_json, print_table, say

__all__ = ["app"]

app = typer.Typer(help="Benchmarks; each makes what it needs and removes it. Figures, never a verdict.", no_args_is_help=True)

PlotOption = Annotated[Path | None, typer.Option("--plot", help="Also write a picture of the ratios (SVG) here.", dir_okay=False)]


@app.command(name="policy-update")
def policy_update(
    times: Annotated[int, typer.Option(min=1, help="Samples of each kind.")] = 20,
    output: OutputOption = Output.TABLE,
    plot: PlotOption = None,
) -> None:
    """How long a change of policy takes in an idle lab of three nodes, from its write to the last kernel."""
    from romana.bench.policy_update import measure

    _present(run(measure(times, say)), output, plot)


@app.command()
def ipam(
    seconds: Annotated[float, typer.Option(min=0.1, help="For each cell.")] = 3.0,
    addresses: Annotated[
        int, typer.Option(min=0, help="Live addresses for cost, memory and restart at size; 0: leave out.")
    ] = 150_000,
    nodes: Annotated[int, typer.Option(min=3, help="Nodes for the same.")] = 5_000,
    members: Annotated[
        list[int] | None, typer.Option(help="Members of etcd; several times for several. Default: 1 and 3.")
    ] = None,
    output: OutputOption = Output.TABLE,
    plot: PlotOption = None,
) -> None:
    """Durable allocations per second on etcd of one and of three members, beside what etcd and gRPC themselves can do."""
    import uvloop

    from romana.bench.ipam import Settings, measure

    settings = Settings(seconds, tuple(members or (1, 3)), addresses, nodes)
    _present(uvloop.run(measure(settings, say)), output, plot)


def _present(report: Report, output: Output, plot: Path | None) -> None:
    if plot:
        from romana.bench.plot import svg

        plot.write_text(svg(report))
    if output is Output.JSON:
        print_json(report.as_dict())
        return
    print_table(Report.COLUMNS, report.rows(), "nothing was measured")
    for note in report.notes:
        say(f"note: {note}")
