"""`romana node drain` and `remove`: a node on its way out of the cluster."""

import asyncio
import time
from typing import Annotated

import grpc
import typer

from romana.cli.context import CALL_TIMEOUT_S, Exit, ipamd, run
from romana.cli.output import Output, OutputOption, as_dict, print_json, say
from romana.cli.status_topology import moves_line
from romana.errors import NotFound
from romana.rpc.client import Client
from romana.v1.node_pb2 import (
    DrainNodeRequest,
    DrainNodeResponse,
    GetNodeRequest,
    GetNodeResponse,
    LeftAttachment,
    RemoveNodeRequest,
    RemoveNodeResponse,
)
from romana.v1.topology_pb2_grpc import TopologyStub

__all__ = ["drain", "left_lines", "remove"]

POLL_S = 0.5
PROGRESS_S = 2.0
UNCHANGED_S = 30.0
"""How long the same line is not told again."""
REMOVE_TIMEOUT_S = 120.0

NameArgument = Annotated[str, typer.Argument(metavar="NAME")]


def drain(
    name: NameArgument,
    undo: Annotated[bool, typer.Option("--undo", help="Take pods again.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when no pod is left on it.")] = True,
    timeout: Annotated[float, typer.Option(help="Seconds to wait.", min=0)] = 300.0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give the node no new addresses, and wait until its pods are gone; deleting them is for whoever runs them (kubectl drain).

    A node whose labels came to ask for another group moves there then. Exit 3: attachments are left after the timeout, and are
    named, or it has not moved yet; the node goes on draining.
    """
    answer = run(_drained(name, undo, timeout if wait and not undo else 0.0))
    if output is Output.JSON:
        print_json(as_dict(answer))
    elif undo:
        typer.echo(f"node {name} takes pods again")
    else:
        typer.echo(f"node {name} drains; {answer.attachments} attachments are left")
    if undo:
        return
    for line in left_lines(answer):
        say(line)
    if wait and (answer.attachments or answer.pending):
        raise typer.Exit(Exit.COULD_NOT_TELL)


def remove(
    name: NameArgument,
    force: Annotated[
        bool, typer.Option("--force", help="Release its attachments; only when the machine is gone for good.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Remove the node; its blocks return to their group once their addresses have cooled down. Exit 4: attachments are left."""
    answer = run(_remove(name, force))
    if output is Output.JSON:
        print_json(as_dict(answer))
    elif answer.removed:
        typer.echo(f"node {name} is removed" + (f"; {answer.released} attachments were released" if answer.released else ""))
    else:
        typer.echo(f"node {name} was not there")


async def _drained(name: str, undo: bool, timeout_s: float) -> DrainNodeResponse:
    request = DrainNodeRequest(name=name, undo=undo)
    async with ipamd() as client:
        answer = await _drain(client, request)
        give_up = time.monotonic() + timeout_s
        told, said = time.monotonic(), ""
        while (answer.attachments or answer.pending) and time.monotonic() < give_up:
            if time.monotonic() - told > (PROGRESS_S if _waits_for(answer) != said else UNCHANGED_S):
                told, said = time.monotonic(), _waits_for(answer)
                say(f"  {said}")
            await asyncio.sleep(POLL_S)
            answer = await _drain(client, request)
        return answer


def _waits_for(answer: DrainNodeResponse) -> str:
    name = answer.node.name
    return f"{answer.attachments} attachments are left on {name}" if answer.attachments else f"the addresses of {name} cool"


def left_lines(answer: DrainNodeResponse) -> list[str]:
    """What a drain still waits for: attachments with their pods, and moves."""
    lines = [f"  {_left(one)}" for one in answer.left]
    if answer.attachments > len(answer.left):
        lines.append(f"  and {answer.attachments - len(answer.left)} more: romana store list attachments/{answer.node.name}/")
    return [*lines, *map(moves_line, answer.pending)]


def _left(one: LeftAttachment) -> str:
    pod = f"pod {one.pod.namespace}/{one.pod.name}" if one.HasField("pod") else "no pod"
    return f"{one.key.container_id}/{one.key.ifname}: {pod}, {', '.join(one.addresses) or 'no address'}"


async def _drain(client: Client, request: DrainNodeRequest) -> DrainNodeResponse:
    return await client.call(lambda channel, left: TopologyStub(channel).DrainNode(request, timeout=left), CALL_TIMEOUT_S)


async def _remove(name: str, force: bool) -> RemoveNodeResponse:
    async with ipamd() as client:
        try:
            found = await client.call(lambda channel, left: _get(channel, name, left), CALL_TIMEOUT_S)
        except NotFound:
            return RemoveNodeResponse()
        # A call that is delayed or repeated must not take a node that was added under the name since.
        request = RemoveNodeRequest(name=name, uid=found.node.uid, force=force)
        return await client.call(lambda channel, left: TopologyStub(channel).RemoveNode(request, timeout=left), REMOVE_TIMEOUT_S)


async def _get(channel: grpc.aio.Channel, name: str, timeout_s: float) -> GetNodeResponse:
    return await TopologyStub(channel).GetNode(GetNodeRequest(name=name), timeout=timeout_s)
