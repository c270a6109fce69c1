"""`romana ipam reservations`: which addresses are kept from being given out, by whom, why and since when."""

from typing import Annotated

import typer

from romana.cli.context import CALL_TIMEOUT_S, ipamd, run
from romana.cli.output import Output, OutputOption, as_dict, print_json, print_table
from romana.v1.ipam_pb2 import ListReservationsRequest, ListReservationsResponse, ReservationEntry
from romana.v1.ipam_pb2_grpc import IpamStub

__all__ = ["reservations"]


def reservations(
    network: Annotated[str | None, typer.Option(help="Only of this network.")] = None, output: OutputOption = Output.TABLE
) -> None:
    """What is reserved: by `romana ipam reserve`, and by the topology document."""
    answer = run(_list())
    found = [entry for entry in answer.reservations if network in {None, entry.network}]
    if output is Output.JSON:
        print_json({"reservations": [_row(entry) for entry in found], "revision": answer.revision})
        return
    rows = ((entry.cidr, entry.network, _by(entry), entry.note, _since(entry)) for entry in found)
    print_table(("address", "network", "by", "note", "since"), rows, "nothing is reserved; reserve: romana ipam reserve CIDR")


async def _list() -> ListReservationsResponse:
    request = ListReservationsRequest()
    async with ipamd() as client:
        return await client.call(lambda channel, left: IpamStub(channel).ListReservations(request, timeout=left), CALL_TIMEOUT_S)


def _row(entry: ReservationEntry) -> dict[str, object]:
    return {**as_dict(entry), "since": _since(entry) or None}


def _by(entry: ReservationEntry) -> str:
    if entry.by_topology:
        return "the topology"
    return "an operator" if entry.confirmed else "an operator (not finished: reserve it again)"


def _since(entry: ReservationEntry) -> str:
    return entry.since.ToJsonString() if entry.HasField("since") else ""
