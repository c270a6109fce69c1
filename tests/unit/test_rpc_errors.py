"""romana.rpc: an error raised in a method is the error that the client gets, faults and all, over a real unix socket."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from romana.errors import (
    Ambiguous,
    ConfigError,
    Conflict,
    Exhausted,
    Fault,
    InvalidInput,
    NotFound,
    Refused,
    RomanaError,
    Unavailable,
)
from romana.rpc.client import Client
from romana.rpc.server import check_listen, new_server, start
from romana.v1.ipam_pb2 import LookupRequest, LookupResponse
from romana.v1.ipam_pb2_grpc import IpamServicer, IpamStub, add_IpamServicer_to_server

if TYPE_CHECKING:
    from romana.v1.ipam_pb2_grpc import IpamAsyncStub

FAULTS = (Fault("networks[0].cidr", 'is "10.0.0.1/8"; host bits are set'), Fault("", "ünïcode 100% \n and a line"))


class Raising(IpamServicer):
    """Raises what the test says."""

    error: Exception
    hangs_after: int | None = None
    calls: int = 0

    async def Lookup(self, request: LookupRequest, context: object) -> LookupResponse:  # noqa: N802
        self.calls += 1
        if self.hangs_after is not None and self.calls > self.hangs_after:
            await asyncio.Event().wait()
        raise self.error


@pytest.fixture
async def raising(tmp_path: Path) -> AsyncIterator[tuple[Raising, str]]:
    server, _ = new_server(["romana.v1.Ipam"])
    servicer = Raising()  # type: ignore[abstract]
    add_IpamServicer_to_server(servicer, server)
    address = f"unix:{tmp_path}/s.sock"
    await start(server, [address])
    yield servicer, address
    await server.stop(None)


async def ask(address: str, timeout_s: float = 5.0) -> RomanaError:
    async def lookup(channel: grpc.aio.Channel, left_s: float) -> LookupResponse:
        stub: IpamAsyncStub = IpamStub(channel)
        return await stub.Lookup(LookupRequest(ip="10.0.0.1"), timeout=left_s)

    async with Client([address]) as client:
        with pytest.raises(RomanaError) as caught:
            await client.call(lookup, timeout_s)
    return caught.value


@pytest.mark.parametrize(
    "error",
    [InvalidInput("wrong", FAULTS), InvalidInput("wrong"), Refused("not now", FAULTS), NotFound("no pod a/b"),
     Conflict("changed"), Exhausted("no address left in rack-1")],
    ids=lambda error: f"{type(error).__name__}-{len(getattr(error, 'faults', ()))}",
)  # fmt: skip
async def test_an_error_of_the_service_is_the_error_of_the_client(raising: tuple[Raising, str], error: RomanaError) -> None:
    servicer, address = raising
    servicer.error = error
    found = await ask(address)
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert getattr(found, "faults", ()) == getattr(error, "faults", ())


@pytest.mark.parametrize("error", [Unavailable("etcd is away"), Ambiguous("lost")])
async def test_what_may_succeed_later_is_unavailable(raising: tuple[Raising, str], error: RomanaError) -> None:
    servicer, address = raising
    servicer.error = error
    found = await ask(address, timeout_s=2.0)
    assert type(found) is Unavailable
    assert str(error) in str(found)


async def test_what_was_said_before_the_time_ran_out_is_told(raising: tuple[Raising, str]) -> None:
    servicer, address = raising
    servicer.error, servicer.hangs_after = Unavailable("etcd is away"), 1
    assert "etcd is away" in str(await ask(address))


async def test_thousands_of_faults_still_arrive_as_the_error_they_are(raising: tuple[Raising, str]) -> None:
    servicer, address = raising
    servicer.error = InvalidInput("the document is wrong", [Fault(f"networks[{i}].cidr", "is wrong: ü" * 5) for i in range(5000)])
    found = await ask(address)
    assert isinstance(found, InvalidInput)
    assert found.faults[0] == Fault("networks[0].cidr", "is wrong: ü" * 5)
    assert found.faults[-1].message == f"and {5000 - len(found.faults) + 1} faults more"


async def test_one_endless_message_still_arrives_as_the_error_it_is(raising: tuple[Raising, str]) -> None:
    servicer, address = raising
    servicer.error = Exhausted("ü" * 100_000)
    assert isinstance(await ask(address), Exhausted)


async def test_a_bug_of_a_method_is_internal_and_the_server_goes_on(raising: tuple[Raising, str]) -> None:
    servicer, address = raising
    servicer.error = ZeroDivisionError("secret detail")
    async with grpc.aio.insecure_channel(address) as channel:
        stub: IpamAsyncStub = IpamStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Lookup(LookupRequest())
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in (caught.value.details() or "")
    servicer.error = NotFound("still here")
    assert isinstance(await ask(address), NotFound)


def test_a_unix_socket_is_for_root_only(raising: tuple[Raising, str]) -> None:
    assert Path(raising[1].removeprefix("unix:")).stat().st_mode & 0o777 == 0o600


async def test_a_living_servers_socket_is_not_taken_away(raising: tuple[Raising, str]) -> None:
    servicer, address = raising
    second, _ = new_server(["romana.v1.Ipam"])
    with pytest.raises(ConfigError, match="a living server answers there"):
        await start(second, [address])
    await second.stop(None)
    servicer.error = NotFound("still here")
    assert isinstance(await ask(address), NotFound)


async def test_a_dead_servers_socket_is_replaced(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/s.sock"
    for _ in range(2):
        server, _health = new_server([])
        await start(server, [address])
        (tmp_path / "kept").unlink(missing_ok=True)
        (tmp_path / "kept").hardlink_to(tmp_path / "s.sock")
        await server.stop(None)
        (tmp_path / "s.sock").unlink(missing_ok=True)
        (tmp_path / "s.sock").hardlink_to(tmp_path / "kept")


@pytest.mark.parametrize(
    ("listen", "insecure", "word"),
    [
        (["0.0.0.0:9600"], False, "without TLS"),
        (["[::]:9600"], False, "without TLS"),
        (["localhost:9600"], False, "numeric"),
        (["127.0.0.1:0"], False, "numeric"),
        (["unix:relative.sock"], False, "numeric"),
        ([], False, "is empty"),
    ],
)
def test_listening_where_others_reach_us_needs_the_word_insecure(listen: list[str], insecure: bool, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        check_listen(listen, insecure=insecure)


def test_loopback_and_unix_sockets_need_no_tls() -> None:
    check_listen(["127.0.0.1:9600", "[::1]:9600", "unix:/run/x.sock"], insecure=False)
    check_listen(["0.0.0.0:9600"], insecure=True)
