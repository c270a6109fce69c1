"""`romana lab`: a cluster of network namespaces on this machine."""

import os
from typing import Annotated, Any

import typer

from romana.cli.context import Exit, run
from romana.cli.output import Output, OutputOption, print_json, print_table, say
from romana.cli.shown import read_topology_file
from romana.errors import InvalidInput

__all__ = ["app"]

app = typer.Typer(help="A cluster of network namespaces on this machine: real etcd, daemons, pods.", no_args_is_help=True)
pod_app = typer.Typer(help="Pods of a lab, by the real CNI program.", no_args_is_help=True)
app.add_typer(pod_app, name="pod")

# The modules of the lab load all daemons' libraries: only the commands that need them do.
LabOption = Annotated[str, typer.Option("--name", "--lab", help="Name of the lab.")]
NamespaceOption = Annotated[str, typer.Option("--namespace", "-n", help="Namespace of the pod.")]
PodArgument = Annotated[str, typer.Argument(metavar="NAME")]


@app.command()
def up(
    name: LabOption = "lab",
    nodes: Annotated[int | None, typer.Option(help="How many nodes, node-1 and so on; 3 where nothing else is said.")] = None,
    node: Annotated[list[str] | None, typer.Option(help="NAME[,LABEL=V...]; may be repeated.")] = None,
    topology: Annotated[str | None, typer.Option(help='A topology, or {"topology": ..., "nodes": [...]}; JSON or YAML.')] = None,
    etcd_members: Annotated[int, typer.Option(help="How many members etcd has; 3 survive the loss of one.")] = 1,
    output: OutputOption = Output.TABLE,
) -> None:
    """Bring a lab up and wait until everything answers; a lab that is up already stays as it is."""
    from romana.lab.describe import describe
    from romana.lab.plan import plan_lab
    from romana.lab.record import find, locked
    from romana.lab.up import bring_up, find_programs

    programs, etcd = find_programs()
    document = read_topology_file(topology) if topology else None
    plan = plan_lab(name, nodes, node or [], document, programs=programs, etcd=etcd, etcd_members=etcd_members)
    with locked(name):
        there = find(name)
        if there and there != plan.lab:
            raise InvalidInput(
                f"lab {name} is there already, with other nodes, etcd members or families of addresses;"
                f" romana lab down --name {name} removes it"
            )
        run(bring_up(plan.lab, plan.topology, say))
        description = describe(plan.lab)
    if output is Output.JSON:
        print_json(description)
    else:
        _print_lab(description)


@app.command()
def down(name: LabOption = "lab") -> None:
    """Remove every namespace, process and file of a lab; safe to repeat."""
    from romana.lab.down import take_down
    from romana.lab.record import locked
    from romana.lab.spec import check_name

    with locked(check_name(name)):
        was_there = take_down(name)
    typer.echo(f"lab {name} {'is gone' if was_there else 'was not there'}")


@app.command(name="status")
def lab_status(name: LabOption = "lab", output: OutputOption = Output.TABLE) -> None:
    """The JSON of `lab up` with the pids of this moment. Exit 1: a process does not run just now."""
    from romana.lab.describe import describe, missing_processes
    from romana.lab.record import load

    lab = load(name)
    if output is Output.JSON:
        print_json({**describe(lab), "not_running": missing_processes(lab)})
    else:
        _print_lab(describe(lab))
    if missing_processes(lab):
        say(f"not running: {', '.join(missing_processes(lab))}; logs are in {lab.run}/log")
        raise typer.Exit(Exit.FOUND)


@app.command(name="list")
def list_labs(output: OutputOption = Output.TABLE) -> None:
    """All labs of this machine."""
    from romana.lab.record import load, names

    rows = [{"name": name, "nodes": [node.name for node in load(name).nodes]} for name in names()]
    if output is Output.JSON:
        print_json({"labs": rows})
    else:
        print_table(("lab", "nodes"), ((row["name"], " ".join(row["nodes"])) for row in rows), "no labs; make one: romana lab up")


@app.command()
def demo(keep: Annotated[bool, typer.Option(help="Leave the lab running.")] = False) -> None:
    """The main job in half a minute: pods on three nodes, every pair probed with packets, daemons killed under a connection."""
    from romana.lab.demo import run_demo

    raise typer.Exit(Exit.FINE if run(run_demo(typer.echo, keep=keep)) else Exit.FOUND)


@pod_app.command(name="add")
def pod_add(
    name: PodArgument,
    namespace: NamespaceOption = "default",
    node: Annotated[str | None, typer.Option(help="The node; else the one with the fewest pods.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="k=v; may be repeated.")] = None,
    port: Annotated[list[str] | None, typer.Option(help="[NAME=]N[/TCP|UDP|SCTP]: declared in the Pod object.")] = None,
    lab: LabOption = "lab",
    output: OutputOption = Output.TABLE,
) -> None:
    """Do what a kubelet does: store the Pod object, make a network namespace, execute the node's CNI program."""
    from romana.lab.describe import describe_pod
    from romana.lab.plan import least_used_node, parse_labels, parse_port
    from romana.lab.pods import add_pod, records
    from romana.lab.record import load
    from romana.objects.models import PodObject

    spec = load(lab)
    place = node or least_used_node(spec, [record.node for record in records(spec)])
    ports = tuple(parse_port(text) for text in port or [])
    pod = run(add_pod(spec, PodObject(namespace, name, parse_labels(label or []), ports, place), say))
    if output is Output.JSON:
        print_json(describe_pod(pod))
    else:
        typer.echo(f"pod {namespace}/{name} is on {pod.node} with {', '.join(pod.ips)}")


@pod_app.command(name="del")
def pod_del(name: PodArgument, namespace: NamespaceOption = "default", lab: LabOption = "lab") -> None:
    """CNI DEL, then the namespace, then the Pod object. Exit 1: there is no such pod."""
    from romana.lab.pods import delete, find_pod
    from romana.lab.record import load

    spec = load(lab)
    run(delete(spec, find_pod(spec, namespace, name)))
    typer.echo(f"pod {namespace}/{name} is gone")


@pod_app.command(name="list")
def pod_list(lab: LabOption = "lab", output: OutputOption = Output.TABLE) -> None:
    """The pods of a lab."""
    from romana.lab.describe import describe_pod
    from romana.lab.pods import records
    from romana.lab.record import load

    pods = records(load(lab))
    if output is Output.JSON:
        print_json({"pods": [describe_pod(pod) for pod in pods]})
    else:
        rows = ((pod.namespace, pod.name, pod.node, " ".join(pod.ips)) for pod in pods)
        print_table(("namespace", "pod", "node", "addresses"), rows, "no pods; add one: romana lab pod add NAME")


@pod_app.command(name="exec", context_settings={"ignore_unknown_options": True})
def pod_exec(
    name: PodArgument,
    command: Annotated[list[str], typer.Argument(metavar="-- CMD...")],
    namespace: NamespaceOption = "default",
    lab: LabOption = "lab",
) -> None:
    """Run a command in the pod's network namespace; its exit code is this one's."""
    from romana.lab.namespaces import enter
    from romana.lab.pods import find_pod
    from romana.lab.record import load

    line = enter(find_pod(load(lab), namespace, name).netns_name, command)
    os.execvp(line[0], line)


def _print_lab(description: dict[str, Any]) -> None:
    nodes = description["nodes"]
    rows = [
        (node["name"], " ".join(node["addresses"]), node["netns"], " ".join(f"{k} {v}" for k, v in node["pids"].items()))
        for node in nodes
    ]
    rows.append(("control", "192.0.2.2", description["control"]["netns"], _pids(description["control"])))
    print_table(("node", "address", "network namespace", "pids"), rows, "")
    typer.echo(f"for the other commands: export ROMANA_CONFIG={description['config']}")


def _pids(described: dict[str, Any]) -> str:
    return " ".join(f"{name} {pid}" for name, pid in described["pids"].items())
