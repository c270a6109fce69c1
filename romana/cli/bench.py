"""`romana bench NAME`: measures this machine and prints the figures beside a peer or a limit."""

import secrets
from pathlib import Path
from typing import Annotated

import typer

from romana.bench.report import Report
from romana.cli.context import Exit, run
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
def store(
    keys: Annotated[int, typer.Option(min=1, help="Length of the listing.")] = 150_000,
    writes: Annotated[int, typer.Option(min=1, help="Of each kind in each turn.")] = 3000,
    etcdctl: Annotated[bool, typer.Option("--etcdctl", help="Also run etcdctl check perf, a minute.")] = False,
    output: OutputOption = Output.TABLE,
    plot: PlotOption = None,
) -> None:
    """Puts, compare-and-swap, a listing, a watch: our store beside bare calls of the same throw-away etcd."""
    from romana.bench.store import Sizes, measure

    _present(run(measure(Sizes(keys=keys, writes=writes, etcdctl=etcdctl), say)), output, plot)


@app.command()
def chaos(
    minutes: Annotated[float, typer.Option(min=0.1, help="How long daemons are hurt, quiet points included.")] = 2.0,
    seed: Annotated[int | None, typer.Option(help="Of the faults; drawn and printed where none is given.")] = None,
    keep: Annotated[bool, typer.Option(help="Leave the lab when something was found.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Daemons and etcd members die, hang, restart while pods come and go; exit 1 when etcd, kernels, connections disagree."""
    from romana.bench.chaos.run import Chaos

    outcome = run(Chaos(secrets.randbelow(2**31) if seed is None else seed, minutes, say).run(keep=keep))
    if output is Output.JSON:
        print_json(outcome.as_dict())
    else:
        rows = [(name, str(value)) for name, value in outcome.figures.items() if name != "failed_adds_said"]
        print_table(("what", "figure"), [("seed", str(outcome.seed)), *rows], "")
        print_table(("after s", "found"), [(str(one["after_s"]), one["what"]) for one in outcome.findings], "nothing was found")
    raise typer.Exit(Exit.FOUND if outcome.findings else Exit.FINE)


@app.command(name="ipam-hammer")
def ipam_hammer(
    operations: Annotated[int | None, typer.Option(min=1, help="Allocations and releases until it ends.")] = None,
    seconds: Annotated[float | None, typer.Option(min=1.0, help="Until it ends; default 60 where no number is given.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of what is drawn; drawn itself and printed where none is given.")] = None,
    etcd_members: Annotated[int, typer.Option(min=1, max=7)] = 3,
    ipamd: Annotated[int, typer.Option(min=1, max=9, help="How many ipamd.")] = 3,
    clients: Annotated[int, typer.Option(min=1, max=512)] = 24,
    batch: Annotated[int, typer.Option(min=1, max=1000, help="Requests in the largest batch.")] = 64,
    pause: Annotated[float, typer.Option(min=0.1, help="Seconds between two blows at most.")] = 4.0,
    json: Annotated[bool, typer.Option("--json", help="As -o json.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Clients, ipamd and etcd members are hurt at random; a checker follows etcd; exit 1 when an invariant was violated."""
    from romana.bench.hammer.run import Hammer, Settings

    drawn = secrets.randbelow(2**31) if seed is None else seed
    limit_s = 60.0 if seconds is None and operations is None else seconds
    settings = Settings(drawn, operations, limit_s, etcd_members, ipamd, clients, batch, pause)
    outcome = run(Hammer(settings, say).run())
    if json or output is Output.JSON:
        print_json(outcome.as_dict())
    else:
        print_table(
            ("what", "figure"), [("seed", str(drawn)), *((name, str(value)) for name, value in outcome.figures.items())], ""
        )
        rows = [(found["invariant"], str(found["revision"]), found["text"]) for found in outcome.violations]
        print_table(("invariant", "revision", "what"), rows, "no violation")
    raise typer.Exit(Exit.FOUND if outcome.violations else Exit.FINE)


@app.command()
def cni(
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of ADD and DEL, one at a time, of each plugin.")] = 40,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each burst, of each plugin.")] = 5,
    output: OutputOption = Output.TABLE,
    plot: PlotOption = None,
) -> None:
    """ADD and DEL beside the reference plugins ptp and host-local: whole processes, one at a time and in bursts."""
    from romana.bench.cni import measure

    _present(run(measure(pairs, rounds, say)), output, plot)


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
