"""The node agent: one CNI call in, its exit status and output out.

    shim --socket--> AgentServer --> Agent.answer --> Locks --> add | delete | check --> ipamd, kernel
                     (bytes)         (request)        (one at a time per attachment)

What goes over the socket: cni/agent_wire.py.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from cni.agent_add import add
from cni.agent_check import check
from cni.agent_del import delete
from cni.agent_gc import collect
from cni.agent_locks import Abort
from cni.agent_parts import Parts
from cni.agent_status import status
from cni.errors import EXHAUSTED, INTERNAL, CniError
from cni.netconf import stated_version
from cni.node_request import NODE_COMMANDS, NodeRequest
from cni.plumbing import as_cni_error
from cni.request import Request
from cni.result import error_document, result_document
from romana.errors import RomanaError

__all__ = ["Agent"]

log = logging.getLogger(__name__)


class Agent:
    """Answers calls, any number at once."""

    def __init__(self, parts: Parts, ready: Callable[[], Awaitable[None]]) -> None:
        """`ready` returns when ADDs may be served, and raises CniError when they may not."""
        self._parts = parts
        self._ready = ready

    async def answer(self, environ: Mapping[str, str], stdin: bytes, netns_fd: int | None, abort: Abort) -> tuple[int, bytes]:
        """Exit status and output of one call; logs one line. Never raises: the runtime must get an error that it can read."""
        began = time.monotonic()
        fields: dict[str, object] = {"command": environ.get("CNI_COMMAND", ""), "container": environ.get("CNI_CONTAINERID", "")}
        try:
            if environ.get("CNI_COMMAND") in NODE_COMMANDS:
                return 0, await self._do_node(NodeRequest.parse(environ, stdin), fields, began)
            request = Request.parse(environ, stdin)
            fields.update(conf=request.conf.name, ifname=request.attachment.ifname, pod=_pod_name(request))
            stdout, more = await self._do(request, netns_fd, abort)
        except RomanaError as err:
            failed = as_cni_error(err)
            if failed.code == EXHAUSTED:
                self._parts.exhausted.note(failed.msg)
            fields.update(code=failed.code, error=failed.msg, ms=_ms(began))
            log.warning("cni call failed", extra=fields)
            return 1, error_document(stated_version(stdin), failed)
        except Exception as err:  # the edge: a bug must not leave the runtime without an answer
            fields.update(code=INTERNAL, ms=_ms(began))
            log.exception("cni call met a bug", extra=fields)
            return 1, error_document(stated_version(stdin), CniError(INTERNAL, f"internal error: {type(err).__name__}: {err}"))
        fields.update(more, ms=_ms(began))
        log.info("cni call done", extra=fields)
        return 0, stdout

    async def _do(self, request: Request, netns_fd: int | None, abort: Abort) -> tuple[bytes, Mapping[str, object]]:
        if request.command == "ADD":
            return await self._add(request, netns_fd, abort)
        if request.command == "CHECK":
            async with self._parts.locks.hold(request.attachment):
                await check(self._parts, request, netns_fd)
            return b"", {}
        now_ns = time.monotonic_ns()
        async with self._parts.locks.deleting(request.attachment, request.started_ns, now_ns):
            return b"", await delete(self._parts, request.attachment, netns_fd, request.started_ns or now_ns)

    async def _do_node(self, request: NodeRequest, fields: dict[str, object], began: float) -> bytes:
        fields.update(conf=request.conf.name)
        if request.command == "STATUS":  # every few seconds: not worth a line
            await status(self._parts)
            return b""
        fields.update(await collect(self._parts, request), ms=_ms(began))
        log.info("cni call done", extra=fields)
        return b""

    async def _add(self, request: Request, netns_fd: int | None, abort: Abort) -> tuple[bytes, Mapping[str, object]]:
        await self._ready()
        async with self._parts.locks.adding(request.attachment, request.started_ns, abort):
            attached = await add(self._parts, request, netns_fd, abort)
        self._parts.exhausted.clear()
        addresses = [str(address.ip) for address in attached.addresses]
        return result_document(request.conf, attached), {"addresses": addresses, "interface": attached.host_interface}


def _pod_name(request: Request) -> str:
    return f"{request.pod.namespace}/{request.pod.name}" if request.pod else ""


def _ms(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)
