"""A gRPC server with our errors, health and reflection, on TCP and unix sockets."""

import inspect
import ipaddress
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from romana.errors import ConfigError, Fault, InvalidInput, RomanaError
from romana.rpc.status import reason_of, to_details, to_metadata, to_status_code

__all__ = ["Health", "check_listen", "new_server", "start"]

log = logging.getLogger(__name__)

# Clients ping every 5 s (romana.rpc.client); a server that forbids it answers GOAWAY "too_many_pings" (gRPC core, keepalive.md).
_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 4000),
    ("grpc.http2.min_ping_interval_without_data_ms", 4000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.so_reuseport", 0),
)


class _Errors(grpc.aio.ServerInterceptor):
    """Turns a RomanaError of a method into its status; any other error is a bug: logged, INTERNAL."""

    def __init__(self) -> None:
        self._wrapped: dict[str, Any] = {}
        """By method: a server's methods never change, and wrapping one for each call would cost as much as a small call."""

    async def intercept_service(self, continuation: Callable[..., Awaitable[Any]], details: Any) -> Any:
        if details.method not in self._wrapped:
            found = await continuation(details)
            if found and found.unary_unary:
                self._wrapped[details.method] = _unary(details.method, found)
            elif found and inspect.isasyncgenfunction(found.unary_stream):  # those of others (health) write by themselves
                self._wrapped[details.method] = _stream(details.method, found)
            else:
                return found
        return self._wrapped[details.method]


def _unary(method: str, found: Any) -> Any:
    inner, read = found.unary_unary, found.request_deserializer

    async def wrapped(raw: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            return await inner(_message(raw, method, read), context)
        except Exception as err:  # noqa: BLE001 - the edge
            await _abort(method, context, err)

    return grpc.unary_unary_rpc_method_handler(wrapped, None, found.response_serializer)


def _message(raw: bytes, method: str, read: Callable[[bytes], Any]) -> Any:
    """The request; gRPC itself would answer UNKNOWN to bytes that are none, and clients would ask again."""
    try:
        return read(raw)
    except DecodeError as err:
        raise InvalidInput(f"these {len(raw)} bytes are no request of {method}: {err}") from err


def _stream(method: str, found: Any) -> Any:
    inner = found.unary_stream

    async def wrapped(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            async for answer in inner(request, context):
                yield answer
        except Exception as err:  # noqa: BLE001 - the edge
            await _abort(method, context, err)

    return grpc.unary_stream_rpc_method_handler(wrapped, found.request_deserializer, found.response_serializer)


async def _abort(method: str, context: grpc.aio.ServicerContext[Any, Any], err: Exception) -> None:
    """End the call with the status of its error."""
    if isinstance(err, grpc.aio.AbortError):
        raise err
    if isinstance(err, RomanaError):
        log.info("request refused", extra={"method": method, "error": str(err), "reason": reason_of(err)})
        await context.abort(to_status_code(err), to_details(err), to_metadata(err))
    # One request's bug must neither end the server nor pass for "try again".
    log.error("request failed by a bug", extra={"method": method}, exc_info=err)
    await context.abort(grpc.StatusCode.INTERNAL, "a bug of the server, written to its log; do not ask again")


class Health:
    """What the standard health service (grpc.health.v1) answers, for the whole server and for each service."""

    def __init__(self, server: grpc.aio.Server, services: Sequence[str]) -> None:
        self._servicer = health.aio.HealthServicer()
        self._services = ("", *services)
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set(self, *, serving: bool) -> None:
        """Tell clients whether requests can be served now."""
        states = health_pb2.HealthCheckResponse
        for service in self._services:
            await self._servicer.set(service, states.SERVING if serving else states.NOT_SERVING)


def new_server(services: Sequence[str]) -> tuple[grpc.aio.Server, Health]:
    """A server without methods yet, and its health; `services` are full names (`romana.v1.Ipam`)."""
    server = grpc.aio.server(interceptors=[_Errors()], options=_OPTIONS)
    state = Health(server, services)
    reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    return server, state


def check_listen(listen: Sequence[str], *, insecure: bool) -> None:
    """Raise ConfigError for an address that is malformed, or that others could reach without TLS."""
    faults = [fault for address in listen if (fault := _listen_fault(address, insecure=insecure))]
    if not listen:
        faults = [Fault("ipam.listen", "is empty; give host:port or unix:/path")]
    if faults:
        raise ConfigError("ipamd cannot listen as configured:", faults)


async def start(server: grpc.aio.Server, listen: Sequence[str]) -> None:
    """Bind and serve; raises ConfigError where that is not possible.

    Unix sockets are for root only (0600) from their first moment; one left by a dead server is replaced, a living one is not.
    """
    for address in listen:
        if path := _unix_path(address):
            _make_way(path)
        _bind(server, address)
    await server.start()


def _bind(server: grpc.aio.Server, address: str) -> None:
    before = os.umask(0o177)
    try:
        server.add_insecure_port(address)
    except RuntimeError as err:
        raise ConfigError(f"cannot listen on {address}: {err}; is another ipamd running there?") from err
    finally:
        os.umask(before)


def _unix_path(address: str) -> Path | None:
    return Path(address.removeprefix("unix:")) if address.startswith("unix:/") else None


def _make_way(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise ConfigError(f"cannot listen on unix:{path}: its folder cannot be made: {err.strerror}") from err
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        if _answers(path):
            raise ConfigError(f"cannot listen on unix:{path}: a living server answers there; stop it, or choose another path")
        path.unlink()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(path))
        except OSError:
            return False
        return True


def _listen_fault(address: str, *, insecure: bool) -> Fault | None:
    if _unix_path(address):
        return None
    host, _, port = address.rpartition(":")
    try:
        ip = ipaddress.ip_address(host.strip("[]"))
        numeric = 0 < int(port) < 2**16
    except ValueError:
        numeric = False
    if not numeric:
        return Fault("ipam.listen", f"has {address!r}; must be ADDRESS:PORT with a numeric address, or unix:/absolute/path")
    if not ip.is_loopback and not insecure:
        why = "would take requests of anyone who reaches it, without TLS"
        return Fault("ipam.listen", f"has {address!r}, which {why}; use loopback, a unix socket, or set ipam.insecure = true")
    return None
