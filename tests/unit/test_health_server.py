"""The health server over real sockets: every answer, bad input, callers that dawdle, an address that is taken."""

import asyncio
import logging
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from romana.health import server as served
from romana.health.address import HealthAddress, parse_health_address
from romana.health.request import HEAD_MAX, Answer, BadRequest, head_end, parse_request
from romana.health.server import CONNECTIONS_MAX, HealthServer
from tests.health_client import ask, talk
from tests.ipamd import until

PATIENCE_S = 60.0
LONG = b"x" * (4 << 20)  # more than the buffers of a socket


async def _page() -> Answer:
    return Answer.text(200, "here")


async def _long() -> Answer:
    return Answer(200, LONG)


async def _broken() -> Answer:
    raise KeyError("bug")


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """A server in this process; gives the path of its socket, in a short folder."""
    with tempfile.TemporaryDirectory(prefix="health-") as folder:
        path = f"{folder}/s"
        pages = {"/livez": _page, "/long": _long, "/broken": _broken}
        async with HealthServer(HealthAddress(f"unix:{path}", path=path), pages, "health.test").serving():
            await until_there(path)
            yield path


async def until_there(path: str) -> None:
    await until(lambda: Path(path).exists())


async def test_it_answers_get_and_head_and_nothing_else() -> None:
    async with serving() as path:
        assert (await ask(path, "/livez")).body == "here\n"
        assert (await ask(path, "/livez?verbose")).body == "here\n"
        assert (await ask(path, "http://elsewhere/livez")).body == "here\n"
        head = await ask(path, "/livez", "HEAD")
        assert (head.status, head.body) == (200, "")
        assert "Content-Length: 5" in head.head
        missing = await ask(path, "/nothing")
        assert missing.status == 404
        assert "/livez" in missing.body
        refused = await ask(path, "/livez", "POST")
        assert refused.status == 405
        assert "Allow: GET, HEAD" in refused.head
        assert (await ask(path, "/long")).body == LONG.decode()


async def test_a_bug_in_a_page_is_answered_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as path:
        assert (await ask(path, "/broken")).status == 500
        assert (await ask(path, "/livez")).status == 200
    assert "KeyError" in caplog.text


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /livez\r\n\r\n", 400),
        (b"GET  /livez HTTP/1.1\r\n\r\n", 400),
        (b"GET /livez HTTP/2.0\r\n\r\n", 505),
        (b"GET /livez HTTP/1.1\r\nno field\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nName : space before the colon\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\n folded: no more\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # TLS where none is spoken
        (b"GET /" + b"a" * HEAD_MAX + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET /livez HTTP/1.1\r\n" + b"a: b\r\n" * HEAD_MAX, 431),
        (b"GET /livez HTTP/1.1\n\n", 200),  # bare LF ends a line: RFC 9112, 2.2
        (b"\r\nGET /livez HTTP/1.0\r\n\r\n", 200),
        (b"GET /livez HTTP/1.1\r\nContent-Length: 5\r\n\r\nGET /broken HTTP/1.1\r\n\r\n", 200),
    ],
)
async def test_each_kind_of_bad_request_has_its_status_and_one_answer(sent: bytes, status: int) -> None:
    async with serving() as path:
        answer = await talk(path, sent)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        assert answer.count(b"Content-Length: ") == 1
        assert b"Connection: close" in answer
        assert (await ask(path, "/livez")).status == 200


@pytest.mark.parametrize("sent", [b"", b"G", b"GET /livez HTTP/1.1\r\nHost: x\r\n"])
async def test_half_a_request_is_no_request(sent: bytes) -> None:
    async with serving() as path:
        assert await talk(path, sent, end=True) == b""
        assert (await ask(path, "/livez")).status == 200


async def test_a_request_that_does_not_come_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "HEAD_S", 0.05)
    async with serving() as path:
        assert b"408 Request Timeout" in await talk(path, b"GET /livez")


async def test_slow_callers_do_not_keep_others_out() -> None:
    async with serving() as path:
        slow = [await asyncio.open_unix_connection(path) for _ in range(CONNECTIONS_MAX * 2)]
        for _, writer in slow:
            writer.write(b"GET /livez HT")
        reading = [await asyncio.open_unix_connection(path) for _ in range(CONNECTIONS_MAX // 2)]
        for _, writer in reading:
            writer.write(b"GET /long HTTP/1.1\r\n\r\n")  # and the answer is never read
        for _ in range(3):
            assert (await ask(path, "/livez")).status == 200
        for _, writer in (*slow, *reading):
            writer.transport.abort()


async def test_a_taken_address_is_told_with_its_key_and_had_when_it_is_free(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "RETRY_S", 0.02)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        address = parse_health_address(f"127.0.0.1:{port}")
        assert address is not None
        with caplog.at_level(logging.INFO):
            async with HealthServer(address, {"/livez": _page}, "health.test").serving():
                await until_logged(caplog, "cannot listen for health")
                record = next(record for record in caplog.records if record.message == "cannot listen for health")
                assert "change health.test" in vars(record)["way_out"]
                other.close()
                await until_logged(caplog, "health is told")
    assert [record.message for record in caplog.records].count("cannot listen for health") == 1


async def test_a_dead_daemons_socket_is_replaced_and_a_living_ones_is_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with serving() as path:
        address = HealthAddress(f"unix:{path}", path=path)
        async with HealthServer(address, {"/livez": _broken}, "health.test").serving():
            await until_logged(caplog, "cannot listen for health")
            assert (await ask(path, "/livez")).body == "here\n"
    caplog.clear()
    with tempfile.TemporaryDirectory(prefix="health-") as folder:
        path = f"{folder}/s"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        async with HealthServer(HealthAddress(f"unix:{path}", path=path), {"/livez": _page}, "health.test").serving():
            await until_logged(caplog, "health is told")
            assert (await ask(path, "/livez")).status == 200
            assert mode_of(path) == 0o600
        assert list(Path(folder).iterdir()) == []  # noqa: ASYNC240 - a folder of ours


def mode_of(path: str) -> int:
    return Path(path).stat().st_mode & 0o777


async def until_logged(caplog: pytest.LogCaptureFixture, message: str) -> None:
    await until(lambda: message in [record.message for record in caplog.records])


@given(
    st.binary(max_size=200)
    | st.lists(st.sampled_from([b"GET", b" ", b"/livez", b"HTTP/1.1", b"\r\n", b"\n", b"a:b", b"\0"])).map(b"".join)
)
def test_any_bytes_are_a_request_or_refused(sent: bytes) -> None:
    end = head_end(sent)
    assert 0 <= end <= len(sent)
    refused, request = 0, None
    try:
        request = parse_request(sent[:end] if end else sent)
    except BadRequest as err:
        refused = err.status
    assert refused in {0, 400, 505}
    assert request is None or (request.path.isascii() and " " not in request.path)


@settings(max_examples=40)
@given(st.lists(st.binary(min_size=1, max_size=64), max_size=6), st.booleans())
def test_any_bytes_in_any_pieces_leave_the_server_serving(pieces: list[bytes], whole: bool) -> None:
    async def run() -> None:
        async with serving() as path, asyncio.timeout(PATIENCE_S):
            _, writer = await asyncio.open_unix_connection(path)
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0)
            if whole:
                writer.close()
            assert (await ask(path, "/livez")).status == 200
            writer.transport.abort()

    asyncio.run(run())


@pytest.mark.parametrize(
    "text",
    ["", "9601", "localhost:9601", "127.0.0.1:0", "127.0.0.1:65536", "::1:9601", "[127.0.0.1]:1", "unix:x", "unix:/x/", "Off"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        parse_health_address(text)


def test_each_kind_of_address_is_taken() -> None:
    assert parse_health_address("off") is None
    assert parse_health_address("[::1]:9601") == HealthAddress("[::1]:9601", host="::1", port=9601)
    assert parse_health_address("unix:/run/x") == HealthAddress("unix:/run/x", path="/run/x")
