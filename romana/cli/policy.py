"""`romana policy`: who may talk to whom by the policies in the store, and why."""

from ipaddress import ip_address, ip_network
from typing import Annotated, Any

import typer

from policyd.cluster import Cluster
from policyd.cluster_reading import read_cluster
from policyd.compiled import Protocol
from policyd.policy import ObjectName
from policyd.verdict import Party, Verdict, verdict
from romana.cli.context import Exit, run, store
from romana.cli.output import Output, OutputOption, print_json, print_table
from romana.errors import InvalidInput, NotFound

__all__ = ["app", "parse_destination", "parse_party", "parse_port"]

app = typer.Typer(help="What the policies allow, and which rule decides.", no_args_is_help=True)

PORT_MAX = 65535


@app.command()
def why(
    source: Annotated[str, typer.Argument(metavar="SRC", help="NAMESPACE/POD, an address, or a CIDR outside.")],
    destination: Annotated[
        str, typer.Argument(metavar="DST[:PORT[/PROTO]]", help="The same, with a port; PROTO is TCP if absent.")
    ],
    output: OutputOption = Output.TABLE,
) -> None:
    """The verdict and the deciding rule at both ends. Exit 0: allowed; 1: denied."""
    target, port, protocol = parse_destination(destination)
    found = run(_judge(parse_party(source), target, port, protocol))
    if output is Output.JSON:
        print_json(_as_dict(source, destination, found))
    else:
        typer.echo(f"{source} -> {destination}: {'allowed' if found.allowed else 'DENIED'}")
        typer.echo(f"  egress of {source}: {found.egress}")
        typer.echo(f"  ingress of {destination}: {found.ingress}")
    if not found.allowed:
        raise typer.Exit(Exit.FOUND)


@app.command()
def matrix(
    namespace: Annotated[list[str] | None, typer.Option("--namespace", "-n", help="Only pods of these; may be repeated.")] = None,
    port: Annotated[str, typer.Option(help="N[/PROTO]; PROTO is TCP if absent.")] = "80/TCP",
    output: OutputOption = Output.TABLE,
) -> None:
    """Every pair of pods for one port: rows are sources, columns destinations."""
    number, protocol = parse_port(port)
    pods, cells = run(_matrix(namespace or [], number, protocol))
    names = [str(pod) for pod in pods]
    if output is Output.JSON:
        rows = {source: {target: cells[source, target] for target in names if target != source} for source in names}
        print_json({"port": f"{number}/{protocol.name}", "pods": names, "allowed": rows})
        return
    marks = {True: "✓", False: "✗", None: "."}
    table = ([source, *(marks[cells.get((source, target))] for target in names)] for source in names)
    print_table((f"from \\ to :{number}/{protocol.name}", *names), table, "no pods with a network of their own")


def parse_party(text: str) -> Party:
    """`namespace/pod`, an address, or a CIDR; a bare word is a pod of the namespace `default`."""
    for parse in (ip_address, ip_network):
        try:
            return parse(text)
        except ValueError:
            continue
    namespace, slash, name = text.rpartition("/")
    if not name or "/" in namespace or (slash and not namespace):
        raise InvalidInput(f"{text!r} is neither NAMESPACE/POD nor an address nor a CIDR")
    return ObjectName(namespace or "default", name)


def parse_destination(text: str) -> tuple[Party, int | None, Protocol | None]:
    """A party with `:PORT[/PROTO]` behind it, or without. An IPv6 address with a port stands in brackets."""
    host, colon, port = text.rpartition(":")
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        colon, port = rest[:1], rest[1:]
    if not colon or (":" in host and not text.startswith("[")):
        return parse_party(text.strip("[]")), None, None
    return (parse_party(host), *parse_port(port))


def parse_port(text: str) -> tuple[int, Protocol]:
    """`N` or `N/PROTO`."""
    number, _, protocol = text.partition("/")
    name = (protocol or "TCP").upper()
    if not (number.isascii() and number.isdigit() and 0 < int(number) <= PORT_MAX) or name not in Protocol.__members__:
        known = ", ".join(Protocol.__members__)
        raise InvalidInput(f"port {text!r} is not N or N/PROTO with N of 1 to {PORT_MAX} and PROTO one of {known}")
    return int(number), Protocol[name]


async def _judge(source: Party, destination: Party, port: int | None, protocol: Protocol | None) -> Verdict:
    async with store() as opened:
        cluster = await read_cluster(opened)
    for party in (source, destination):
        if isinstance(party, ObjectName) and party not in cluster.pods:
            raise NotFound(f"there is no pod {party}; romana get pods -A shows those there are")
    return verdict(cluster, source, destination, port, protocol)


async def _matrix(
    namespaces: list[str], port: int, protocol: Protocol
) -> tuple[list[ObjectName], dict[tuple[str, str], bool | None]]:
    async with store() as opened:
        cluster = await read_cluster(opened)
    pods = sorted(pod for pod in cluster.covered if not namespaces or pod.namespace in namespaces)
    return pods, {(str(a), str(b)): _allowed(cluster, a, b, port, protocol) for a in pods for b in pods if a != b}


def _allowed(cluster: Cluster, source: ObjectName, target: ObjectName, port: int, protocol: Protocol) -> bool:
    return verdict(cluster, source, target, port, protocol).allowed


def _as_dict(source: str, destination: str, found: Verdict) -> dict[str, Any]:
    ends = {"egress": found.egress, "ingress": found.ingress}
    return {
        "source": source,
        "destination": destination,
        "allowed": found.allowed,
        **{
            name: {
                "allowed": end.allowed,
                "reason": end.reason.value,
                "rule": str(end.rule) if end.rule else None,
                "isolating": [str(policy) for policy in end.isolating],
            }
            for name, end in ends.items()
        },
    }
