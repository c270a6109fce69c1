"""`romana ipam recovery`: what a restored store waits for, and the operator's word that a node is gone."""

from typing import Annotated

import typer

from romana.cli.context import CALL_TIMEOUT_S, Exit, ipamd, run
from romana.cli.output import Output, OutputOption, as_dict, print_json
from romana.v1.ipam_pb2 import GiveUpNodeRequest, GiveUpNodeResponse, RecoveryRequest, RecoveryResponse
from romana.v1.ipam_pb2_grpc import IpamStub

__all__ = ["ask_recovery", "recovery"]


def recovery(
    without: Annotated[
        str, typer.Option("--without", metavar="NODE", help="The node is gone for good: do not wait for it any more.")
    ] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Whether the store is being recovered after a restore, and which nodes it waits for. Exit 1: it is.

    A node that is given up loses what it got after the backup was made: give up none whose pods may still run.
    """
    if without:
        changed = run(_give_up(without)).changed
        if output is Output.JSON:
            print_json({"node": without, "changed": changed})
        else:
            typer.echo(f"{without} is given up" if changed else f"no recovery waits for {without}")
        return
    answer = run(ask_recovery())
    if output is Output.JSON:
        print_json({"recovering": answer.HasField("restored"), **as_dict(answer)})
    else:
        typer.echo("\n".join(_lines(answer)))
    if answer.HasField("restored"):
        raise typer.Exit(Exit.FOUND)


async def ask_recovery() -> RecoveryResponse:
    """Where the store's history stands, as a person is told."""
    async with ipamd() as client:
        request = RecoveryRequest()
        return await client.call(lambda channel, left: IpamStub(channel).Recovery(request, timeout=left), CALL_TIMEOUT_S)


async def _give_up(node: str) -> GiveUpNodeResponse:
    request = GiveUpNodeRequest(node=node)
    async with ipamd() as client:
        return await client.call(lambda channel, left: IpamStub(channel).GiveUpNode(request, timeout=left), CALL_TIMEOUT_S)


def _lines(answer: RecoveryResponse) -> list[str]:
    if not answer.HasField("restored"):
        return ["no recovery is under way"]
    unknown = set(answer.unknown)
    lines = [f"the store is being recovered since {answer.restored.noticed.ToJsonString()}: {answer.restored.reason}"]
    lines += [
        f"  waits for {name}{': add it again first, romana node add' if name in unknown else ''}" for name in answer.waiting
    ]
    return lines if answer.waiting else [*lines, "  every node has re-asserted; it ends in some seconds"]
