"""`romana ipam`: who holds an address; `recovery` is in `romana.cli.recovery`."""

from ipaddress import ip_address
from typing import Annotated

import typer

from romana.cli.context import CALL_TIMEOUT_S, Exit, ipamd, run
from romana.cli.output import Output, OutputOption, as_dict, enum_word, print_json
from romana.cli.recovery import recovery
from romana.errors import UsageError
from romana.v1.ipam_pb2 import LOOKUP_STATE_OUTSIDE, LookupRequest, LookupResponse, LookupState
from romana.v1.ipam_pb2_grpc import IpamStub

__all__ = ["app"]

app = typer.Typer(help="Addresses and who holds them.", no_args_is_help=True)


app.command()(recovery)


@app.command()
def who(ip: Annotated[str, typer.Argument(metavar="IP")], output: OutputOption = Output.TABLE) -> None:
    """All there is to know of one address. Exit 1: it is in no network of the topology."""
    answer = run(_lookup(_address(ip)))
    if output is Output.JSON:
        print_json({"ip": ip, **as_dict(answer)})
    else:
        typer.echo("\n".join(_lines(ip, answer)))
    if answer.state == LOOKUP_STATE_OUTSIDE:
        raise typer.Exit(Exit.FOUND)


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError as err:
        raise UsageError(f"{text!r} is not an address, as 10.40.0.3 or fd00::3") from err


async def _lookup(ip: str) -> LookupResponse:
    request = LookupRequest(ip=ip)
    async with ipamd() as client:
        return await client.call(lambda channel, left: IpamStub(channel).Lookup(request, timeout=left), CALL_TIMEOUT_S)


def _state(answer: LookupResponse) -> str:
    return enum_word(LookupState.DESCRIPTOR, LookupState.Name(answer.state))


def _lines(ip: str, answer: LookupResponse) -> list[str]:
    lines = [f"{ip} is {_state(answer)}"]
    if answer.network:
        lines.append(f"  network     {answer.network}, group {answer.group_path} ({answer.group_name})")
    if answer.block:
        lines.append(f"  block       {answer.block} of node {answer.node}")
    if answer.HasField("attachment"):
        key = answer.attachment
        lines.append(f"  attachment  {key.node} {key.conf} {key.container_id} {key.ifname}")
    if answer.HasField("pod"):
        lines.append(f"  pod         {answer.pod.namespace}/{answer.pod.name}")
    if answer.HasField("since"):
        lines.append(f"  since       {answer.since.ToJsonString()}")
    if answer.HasField("released"):
        lines.append(f"  released    {answer.released.ToJsonString()}")
    return lines
