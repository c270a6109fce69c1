"""`romana apply`, `get` and `delete`: Kubernetes objects where no cluster mirrors them."""

import json
from collections.abc import AsyncIterator, Iterable
from enum import StrEnum
from typing import Annotated, Any

import typer
import yaml

from romana.cli.context import run, store
from romana.cli.objects_report import Report, seconds
from romana.cli.output import Output, OutputOption, say
from romana.cli.topology import read_document
from romana.errors import NotFound
from romana.objects.applying import Applied, apply_objects, delete_object, refuse_mirrored_cluster
from romana.objects.kinds import KINDS, Kind, kind_named
from romana.objects.manifest import Identity, identities, parse
from romana.objects.reading import list_objects, read_object
from romana.objects.tables import table
from romana.store.api import Store

__all__ = ["apply", "delete", "get"]


class Shape(StrEnum):
    """How objects are printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


FileOption = Annotated[str, typer.Option("--file", "-f", metavar="FILE", help="Manifest, YAML or JSON; - for standard input.")]
NamespaceOption = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="For objects that name none, else default; one that names another is refused."),
]
WaitOption = Annotated[
    bool, typer.Option("--wait", help="Return when every live node has it in its kernel. Exit 3: not in time.")
]
TimeoutOption = Annotated[str, typer.Option("--timeout", help="How long --wait waits: 30s, 500ms, 1m.")]


def apply(
    file: FileOption,
    namespace: NamespaceOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and write nothing.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse unknown and repeated fields, in place of a warning.")] = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = "30s",
    output: OutputOption = Output.TABLE,
) -> None:
    """Write Namespaces, Pods and NetworkPolicies, each as a whole. Exit 4: refused, with every fault; nothing is written."""
    timeout_s = seconds(timeout)
    manifest = parse(read_document(file), namespace, strict=strict)
    for warning in manifest.warnings:
        say(f"Warning: {warning}")
    report = Report(output is Output.JSON, " (dry run)" if dry_run else "", manifest.warnings)

    async def work() -> None:
        async with store() as opened:
            await report.follow(apply_objects(opened, manifest.objects, dry_run=dry_run))
            if wait and not dry_run:
                await report.wait(opened, timeout_s)

    run(work())
    report.end(timeout)


def delete(
    resource: Annotated[str | None, typer.Argument(metavar="KIND[/NAME]")] = None,
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME")] = None,
    file: Annotated[str | None, typer.Option("--file", "-f", metavar="FILE", help="What a manifest names.")] = None,
    namespace: NamespaceOption = None,
    ignore_not_found: Annotated[bool, typer.Option("--ignore-not-found", help="Be content with what is gone already.")] = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = "30s",
    output: OutputOption = Output.TABLE,
) -> None:
    """Delete objects, a Namespace with all that is in it. Exit 1: one of them is not there. Addresses stay until CNI DEL."""
    timeout_s = seconds(timeout)
    wanted = _identities(resource, names or [], file, namespace)
    report = Report(output is Output.JSON)

    async def work() -> None:
        async with store() as opened:
            await report.follow(_delete(opened, wanted, [] if ignore_not_found else report.not_found))
            if wait:
                await report.wait(opened, timeout_s)

    run(work())
    report.end(timeout)


def get(
    resource: Annotated[str, typer.Argument(metavar="KIND[/NAME]", help="pods, namespaces, networkpolicies, or a short name.")],
    name: Annotated[str | None, typer.Argument(metavar="NAME")] = None,
    namespace: Annotated[str, typer.Option("--namespace", "-n")] = "default",
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Objects of all namespaces.")] = False,
    output: Annotated[Shape, typer.Option("--output", "-o")] = Shape.TABLE,
) -> None:
    """Show objects as the Kubernetes API would. Exit 1: there is no object of that name."""
    kind, name = _kind_and_name(resource, name)
    if name and everywhere:
        raise typer.BadParameter("an object cannot be asked for by name across all namespaces")
    documents = run(_get(kind, None if everywhere else namespace, name))
    if output is Shape.TABLE:
        _print_lines(table(kind, documents, with_namespace=everywhere) if documents else [])
    elif output is Shape.NAME:
        _print_lines(f"{kind.singular}/{document['metadata']['name']}" for document in documents)
    else:
        whole: dict[str, Any] = {"apiVersion": "v1", "items": documents, "kind": "List", "metadata": {"resourceVersion": ""}}
        shown = documents[0] if name else whole
        typer.echo(json.dumps(shown, indent=4) if output is Shape.JSON else yaml.safe_dump(shown, sort_keys=False).rstrip())
    if not documents and output in {Shape.TABLE, Shape.NAME}:
        everything = everywhere or not kind.namespaced
        say("No resources found" if everything else f"No resources found in {namespace} namespace.")


async def _get(kind: Kind, namespace: str | None, name: str | None) -> list[dict[str, Any]]:
    async with store() as opened:
        if name:
            return [await read_object(opened, kind, namespace or "default", name)]
        return await list_objects(opened, kind, namespace)


async def _delete(opened: Store, wanted: Iterable[Identity], not_found: list[str]) -> AsyncIterator[Applied]:
    """Delete what is there; Namespaces last, since they take the rest with them."""
    await refuse_mirrored_cluster(opened)
    for identity in sorted(wanted, key=lambda identity: not identity.kind.namespaced):
        try:
            yield await delete_object(opened, identity)
        except NotFound as err:
            not_found.append(str(err))


def _identities(resource: str | None, names: list[str], file: str | None, namespace: str | None) -> list[Identity]:
    if (file is None) == (resource is None):
        raise typer.BadParameter("say what to delete: either -f FILE, or KIND and NAME")
    if resource is None:
        return identities(read_document(file or "-"), namespace)
    kind, first = _kind_and_name(resource, None)
    wanted = [*([first] if first else []), *names]
    if not wanted:
        raise typer.BadParameter(f"name the {kind.plural} to delete")
    return [Identity(kind, (namespace or "default") if kind.namespaced else "", name) for name in wanted]


def _kind_and_name(resource: str, name: str | None) -> tuple[Kind, str | None]:
    """The kind of `pods`, `pod/web` and the like, and the name of the object."""
    word, slash, own = resource.partition("/")
    kind = kind_named(word)
    if kind is None:
        known = ", ".join(kind.plural for kind in KINDS)
        raise typer.BadParameter(f"there is no resource type {word!r}; known are {known}")
    if slash and (name or not own):
        raise typer.BadParameter(f"{resource} and a name do not go together" if name else f"{resource} has no name")
    return kind, own or name


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(line)
