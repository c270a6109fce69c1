"""`romana ipam`: who holds an address, what is reserved; `show`, `reservations`, `recovery` are in modules of their own."""

from ipaddress import ip_address, ip_network
from typing import Annotated

import typer

from romana.cli import ipam_who
from romana.cli.context import CALL_TIMEOUT_S, Exit, ipamd, run
from romana.cli.ipam_at import who_at
from romana.cli.ipam_check import check
from romana.cli.ipam_reservations import reservations
from romana.cli.ipam_show import show_usage
from romana.cli.output import Output, OutputOption, as_dict, print_json
from romana.cli.recovery import recovery
from romana.errors import UsageError
from romana.v1.ipam_pb2 import (
    LOOKUP_STATE_OUTSIDE,
    LookupRequest,
    LookupResponse,
    ReleaseReservationRequest,
    ReleaseReservationResponse,
    ReserveRequest,
    ReserveResponse,
)
from romana.v1.ipam_pb2_grpc import IpamStub

__all__ = ["app"]

app = typer.Typer(help="Addresses and who holds them.", no_args_is_help=True)


app.command()(recovery)
app.command()(check)
app.command()(reservations)
app.command(name="show")(show_usage)


@app.command()
def who(
    ip: Annotated[str, typer.Argument(metavar="IP")],
    at: Annotated[str, typer.Option("--at", metavar="TIME", help="Who held it then: 2026-11-20T14:05, UTC if no zone.")] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """All there is to know of one address. Exit 1: it is in no network; with --at: nobody is known to have held it then."""
    if at:
        who_at(ip_address(_address(ip)), at, output)
        return
    answer = run(_lookup(_address(ip)))
    if output is Output.JSON:
        print_json(ipam_who.document(ip, answer))
    else:
        typer.echo("\n".join(ipam_who.lines(ip, answer)))
    if answer.state == LOOKUP_STATE_OUTSIDE:
        raise typer.Exit(Exit.FOUND)


@app.command()
def reserve(
    cidr: Annotated[str, typer.Argument(metavar="CIDR", help="A prefix or an address, as 10.40.0.0/28.")],
    note: Annotated[str, typer.Option(help="Why; shown to whoever finds it.")] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Keep addresses from being given out. Refused while one of them is held; again is no error."""
    answer = run(_reserve(ReserveRequest(cidr=_prefix(cidr), note=note)))
    if output is Output.JSON:
        print_json(as_dict(answer))
    else:
        typer.echo(f"{answer.cidr} of network {answer.network} {'was reserved already' if answer.existing else 'is reserved'}")


@app.command(name="release-reservation")
def release_reservation(
    cidr: Annotated[str, typer.Argument(metavar="CIDR", help="Just as it was reserved.")], output: OutputOption = Output.TABLE
) -> None:
    """Let addresses be given out again that `romana ipam reserve` kept."""
    answer = run(_release_reservation(ReleaseReservationRequest(cidr=_prefix(cidr))))
    if output is Output.JSON:
        print_json(as_dict(answer))
    else:
        typer.echo(f"{cidr} of network {answer.network} is not reserved any more")


def _prefix(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as err:
        raise UsageError(f"{text!r} is not a prefix, as 10.40.0.0/28 or fd00::/120: {err}") from err


async def _reserve(request: ReserveRequest) -> ReserveResponse:
    async with ipamd() as client:
        return await client.call(lambda channel, left: IpamStub(channel).Reserve(request, timeout=left), CALL_TIMEOUT_S)


async def _release_reservation(request: ReleaseReservationRequest) -> ReleaseReservationResponse:
    async with ipamd() as client:
        return await client.call(
            lambda channel, left: IpamStub(channel).ReleaseReservation(request, timeout=left), CALL_TIMEOUT_S
        )


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError as err:
        raise UsageError(f"{text!r} is not an address, as 10.40.0.3 or fd00::3") from err


async def _lookup(ip: str) -> LookupResponse:
    request = LookupRequest(ip=ip)
    async with ipamd() as client:
        return await client.call(lambda channel, left: IpamStub(channel).Lookup(request, timeout=left), CALL_TIMEOUT_S)
