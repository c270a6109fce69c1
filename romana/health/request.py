"""The part of HTTP/1.1 that a probe and a scrape need: one request without a body in, one answer out, then the end. Pure.

Nothing after the head of a request is read, and every answer closes its connection: no pipelining, no chunked body, no way to
make one request look like two. Source: RFC 9112, sections 2.2, 3 and 9.6; RFC 9110, sections 9.3 and 15.
"""

import re
from dataclasses import dataclass

__all__ = ["HEAD_MAX", "TEXT", "Answer", "BadRequest", "Request", "head_end", "parse_request"]

HEAD_MAX = 8192
"""Bytes of a request's head: what RFC 9112, section 3, asks a server to take of a request line alone."""

TEXT = "text/plain; charset=utf-8"

REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}

_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([!-~]{1,2048}) HTTP/([0-9])\.([0-9])")
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00\r\n]*")
_END = re.compile(rb"\r?\n\r?\n")
_ABSOLUTE = re.compile(rb"https?://[^/?]*", re.IGNORECASE)


class BadRequest(Exception):
    """The request is answered with this status, and the words say why."""

    def __init__(self, status: int, why: str) -> None:
        self.status = status
        super().__init__(why)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked."""

    method: str
    path: str
    """Without a query."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered."""

    status: int
    body: bytes
    content_type: str = TEXT
    allow: str = ""
    """Methods, for 405."""

    def head(self) -> bytes:
        """Everything before the body."""
        fields = [
            f"HTTP/1.1 {self.status} {REASONS[self.status]}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            "Connection: close",
            *([f"Allow: {self.allow}"] if self.allow else []),
        ]
        return "\r\n".join([*fields, "", ""]).encode()

    @classmethod
    def text(cls, status: int, words: str) -> "Answer":
        """Words for a person, on a line of their own."""
        return cls(status, f"{words}\n".encode())


def head_end(received: bytes) -> int:
    """Where the head ends, its empty line included; 0 while it is not all there. A bare LF ends a line too (RFC 9112, 2.2)."""
    # Empty lines before the request line are to be passed over (RFC 9112, 2.2), and count as part of the head.
    start = len(received) - len(received.lstrip(b"\r\n"))
    found = _END.search(received, start)
    return found.end() if found else 0


def parse_request(head: bytes) -> Request:
    """The request of a whole head; raises BadRequest."""
    first, *fields = head.strip(b"\r\n").replace(b"\r\n", b"\n").split(b"\n")
    match = _LINE.fullmatch(first)
    if match is None:
        raise BadRequest(400, "the first line is no request of HTTP/1.1")
    method, target, major, _ = match.groups()
    if major != b"1":
        raise BadRequest(505, "HTTP/1.1 and 1.0 are spoken here")
    if any(_FIELD.fullmatch(field) is None for field in fields):
        raise BadRequest(400, "a header field is malformed")
    path = _ABSOLUTE.sub(b"", target, count=1).partition(b"?")[0] or b"/"
    return Request(method.decode(), path.decode())
