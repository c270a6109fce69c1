"""`romana apply`: Kubernetes objects where no cluster mirrors them."""

from collections.abc import Sequence
from typing import Annotated

import typer

from romana.cli.context import run, store
from romana.cli.output import Output, OutputOption, print_json
from romana.cli.topology import read_document
from romana.objects.manifest import parse
from romana.objects.models import NamespaceObject, Object, PodObject
from romana.objects.pods import BUILT_IN_NAMESPACES, apply_namespace, apply_pod, ensure_namespace

__all__ = ["apply"]


def apply(
    file: Annotated[str, typer.Option("--file", "-f", metavar="FILE", help="Manifest, YAML or JSON; - for standard input.")],
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="For pods that name none.")] = "default",
    output: OutputOption = Output.TABLE,
) -> None:
    """Write Pod and Namespace objects; a runtime's ADD then finds its pod. Exit 4: it is refused, nothing written."""
    objects = parse(read_document(file), namespace).objects
    results = run(_apply(objects))
    if output is Output.JSON:
        print_json({"objects": [{"object": name, "changed": changed} for name, changed in results]})
        return
    for name, changed in results:
        typer.echo(f"{name} {'applied' if changed else 'unchanged'}")


async def _apply(objects: Sequence[Object]) -> list[tuple[str, bool]]:
    results = []
    async with store() as opened:
        for name in BUILT_IN_NAMESPACES:
            await ensure_namespace(opened, name)
        for wanted in objects:
            if isinstance(wanted, NamespaceObject):
                results.append((f"namespace/{wanted.name}", await apply_namespace(opened, wanted)))
            elif isinstance(wanted, PodObject):
                _, changed = await apply_pod(opened, wanted)
                results.append((f"pod/{wanted.namespace}/{wanted.name}", changed))
    return results
