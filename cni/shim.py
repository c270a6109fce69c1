#!/usr/bin/python3 -IS
"""The CNI plugin that the runtime executes: hands the call to the node's agent and prints its answer.

It must start fast and under any environment, so it imports nothing that the bare interpreter does not have at hand (`json` and
`socket` alone would triple its time; docs/adr/0002-cni-shim-and-agent.md), nothing of this project, and leaves by `_exit`.
The protocol is described in cni/agent_wire.py. CNI spec 1.1, section 2.
"""

import _signal  # type: ignore[import-not-found]
import _socket
import posix
import sys
import time

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
CURRENT = VERSIONS[-1]
REQUIRED = {
    b"ADD": (b"CNI_CONTAINERID", b"CNI_NETNS", b"CNI_IFNAME"),
    b"CHECK": (b"CNI_CONTAINERID", b"CNI_NETNS", b"CNI_IFNAME"),
    b"DEL": (b"CNI_CONTAINERID", b"CNI_IFNAME"),
    b"GC": (),
    b"STATUS": (),
}

DEADLINE_S = 110  # kubelet kills a call after 120 s
CONNECT_S = {b"ADD": 30.0, b"CHECK": 10.0, b"DEL": 10.0, b"GC": 10.0, b"STATUS": 0.5}
# From connecting on. A DEL that nobody waits for goes on in the agent, and the runtime comes again: twice what a living agent
# needs, behind an ADD that waits 10 s for ipamd, is enough. An ADD that nobody waits for is undone, so it may take its time.
ANSWER_S = {b"ADD": 100, b"CHECK": 20, b"DEL": 20, b"GC": 100, b"STATUS": 5}
CONNECT_PAUSE_S = 0.05
DEFAULT_SOCKET = b"/run/romana/agent.sock"

INVALID_ENVIRONMENT = 4
INVALID_NETNS = 8  # types.ErrInvalidNetNS of the Go library
TRY_AGAIN = 11
NOT_AVAILABLE = 50  # of STATUS, CNI spec 1.1, section 4: ADD cannot be served
INTERNAL = 999


class Failed(Exception):
    """The call fails with this code, message and details."""

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        super().__init__(msg)
        self.code = code
        self.msg = msg
        self.details = details


def main() -> int:
    """Do the call; returns the exit status."""
    environ = posix.environ
    command = environ.get(b"CNI_COMMAND", b"")
    if not command:
        write(2, b"romana: CNI plugin of a routed pod network; versions " + ", ".join(VERSIONS).encode() + b"\n")
        return 0
    if command == b"VERSION":
        return 0 if print_version(read_all(0)) else 1
    stdin = read_all(0)  # before the first check: an error carries the configuration's version
    check_environment(command, environ)
    return call_agent(command, environ, stdin)


def check_environment(command: bytes, environ: dict[bytes, bytes]) -> None:
    """Fail for an unknown command or missing variables, all of them in one message."""
    if command not in REQUIRED:
        raise Failed(INVALID_ENVIRONMENT, "unknown CNI_COMMAND: " + shown(command))
    missing = [shown(name) for name in REQUIRED[command] if not environ.get(name)]
    if missing:
        raise Failed(INVALID_ENVIRONMENT, "required env variables [" + ",".join(missing) + "] missing")
    for name in REQUIRED[command]:
        try:
            environ[name].decode()
        except UnicodeDecodeError as err:
            raise Failed(INVALID_ENVIRONMENT, shown(name) + " is " + shown(environ[name]) + "; must be UTF-8") from err


def call_agent(command: bytes, environ: dict[bytes, bytes], stdin: bytes) -> int:
    """Have the agent do it and print what it answers."""
    netns = netns_of(command, environ)
    variables = [name + b"=" + value for name, value in environ.items() if name.startswith(b"CNI_")]
    variables.append(b"ROMANA_STARTED_NS=%d" % STARTED_NS)
    block = b"\0".join(variables)
    request = b"ROM1" + len(block).to_bytes(4, "big") + len(stdin).to_bytes(4, "big") + block + stdin
    status, stdout = exchange(command, socket_path(), request, netns)
    # A runtime that cannot read the result must not take the call for done: it will DEL what it knows nothing of.
    return status if write(1, stdout) else 1


def exchange(command: bytes, path: bytes, request: bytes, netns: int | None) -> tuple[int, bytes]:
    """The agent's exit status and output. A DEL whose agent dies is asked again: it is safe to repeat."""
    give_up = time.monotonic() + CONNECT_S[command]
    gone_s = (time.monotonic_ns() - STARTED_NS) // 10**9
    set_alarm(max(min(ANSWER_S[command], DEADLINE_S - gone_s), 1))
    while True:
        connection = connect(path, give_up)
        try:
            send(connection, request, netns)
            return receive(connection)
        except OSError as err:
            if command != b"DEL" or time.monotonic() > give_up:
                raise gone(path, err) from err
        finally:
            connection.close()
        time.sleep(CONNECT_PAUSE_S)


def connect(path: bytes, give_up: float) -> _socket.socket:
    """A connection to the agent; keeps trying while it is not there."""
    while True:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            connection.settimeout(max(give_up - time.monotonic(), 0.01))
            connection.connect(path)
        except OSError as err:
            connection.close()
            if err.errno is None or time.monotonic() > give_up:  # no errno: the path itself is impossible
                raise gone(path, err) from err
        else:
            connection.settimeout(None)  # from here on the alarm bounds everything
            return connection
        time.sleep(CONNECT_PAUSE_S)


def send(connection: _socket.socket, request: bytes, netns: int | None) -> None:
    """Send the request, the namespace's descriptor with its first byte."""
    ancillary = []
    if netns is not None:
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, netns.to_bytes(4, sys.byteorder))]
    sent = connection.sendmsg([request], ancillary)
    if sent < len(request):  # sending nothing would fail when the agent has answered and gone already
        connection.sendall(memoryview(request)[sent:])


def receive(connection: _socket.socket) -> tuple[int, bytes]:
    """Exit status and output; OSError when the agent goes before it has answered."""
    head = receive_exactly(connection, 5)
    return head[0], receive_exactly(connection, int.from_bytes(head[1:], "big"))


def receive_exactly(connection: _socket.socket, size: int) -> bytes:
    """So many bytes."""
    parts = []
    while size:
        part = connection.recv(min(size, 1 << 16))
        if not part:
            raise OSError(None, "it closed the connection before it answered")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def gone(path: bytes, err: OSError) -> Failed:
    """The failure that says that the agent is not there."""
    why = err.strerror or str(err)
    msg = "the romana agent does not answer on " + shown(path) + ": " + why
    return Failed(try_again(), msg, "try again later; is romana-agent running on this node?")


def try_again() -> int:
    """The code for an agent that is not there."""
    return NOT_AVAILABLE if posix.environ.get(b"CNI_COMMAND") == b"STATUS" else TRY_AGAIN


def open_netns(path: bytes) -> int:
    """A descriptor of CNI_NETNS, opened here because the runtime's mount namespace is ours and not the agent's."""
    try:
        # O_NONBLOCK: the path may be anything, a pipe without a writer too.
        return posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    except OSError as err:
        raise Failed(INVALID_NETNS, "cannot open the network namespace " + shown(path) + ": " + str(err.strerror)) from err


def netns_of(command: bytes, environ: dict[bytes, bytes]) -> int | None:
    """A descriptor of CNI_NETNS; DEL can do without, GC and STATUS are not about one."""
    path = environ.get(b"CNI_NETNS")
    if not path or not REQUIRED[command]:
        return None
    try:
        return open_netns(path)
    except Failed:
        if command == b"DEL":
            return None
        raise


def socket_path() -> bytes:
    """The agent's socket: the one line of `<this file>.socket`, else the default."""
    try:
        sidecar = posix.open(__file__ + ".socket", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return DEFAULT_SOCKET
    line = posix.read(sidecar, 4096).strip()
    posix.close(sidecar)
    return line or DEFAULT_SOCKET


def print_version(stdin: bytes) -> bool:
    """Answer VERSION: it needs no agent, and whatever stands on standard input. False when nobody could read it."""
    listed = ",".join('"' + version + '"' for version in VERSIONS)
    return write(1, ('{"cniVersion":' + quoted(asked_version(stdin)) + ',"supportedVersions":[' + listed + "]}\n").encode())


def asked_version(stdin: bytes) -> str:
    """The `cniVersion` of standard input; json is imported only when it is not the one line that libcni sends."""
    words = stdin.translate(None, b" \t\r\n")
    if words.startswith(b'{"cniVersion":"') and words.endswith(b'"}'):
        version = words[15:-2].decode("ascii", "replace")
        if version in VERSIONS:
            return version
    return parsed_version(stdin) or CURRENT


def parsed_version(stdin: bytes) -> str:
    """The `cniVersion` of a configuration, or an empty string."""
    if not stdin:
        return ""
    try:
        import json

        version = json.loads(stdin).get("cniVersion")
    except Exception:  # noqa: BLE001 - the edge: whatever the input is, the call must be answered
        return ""
    return version if isinstance(version, str) else ""


def failed(err: Failed, stdin: bytes) -> int:
    """Print the error as CNI wants it; returns the exit status."""
    version = parsed_version(stdin)
    document = '{"cniVersion":' + quoted(version if version in VERSIONS else CURRENT) + ',"code":' + str(err.code)
    document += ',"msg":' + quoted(err.msg) + (',"details":' + quoted(err.details) if err.details else "") + "}\n"
    write(1, document.encode())
    return 1


def quoted(text: str) -> str:
    """A JSON string in ASCII (RFC 8259, section 7)."""
    return '"' + "".join([escaped(char) for char in text]) + '"'


def escaped(char: str) -> str:
    """One character of a JSON string."""
    code = ord(char)
    if 0x20 <= code < 0x7F and char not in '"\\':
        return char
    if code > 0xFFFF:
        code -= 0x10000
        return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
    return f"\\u{code:04x}"


def shown(value: bytes) -> str:
    """Bytes of the environment as text."""
    return value.decode("utf-8", "replace")


def read_all(fd: int) -> bytes:
    """Everything up to the end of a file; nothing when it cannot be read. Remembered for the error's version."""
    parts = []
    try:
        while True:
            part = posix.read(fd, 1 << 16)
            if not part:
                break
            parts.append(part)
    except OSError:
        parts.clear()
    STDIN.append(b"".join(parts))
    return STDIN[-1]


def write(fd: int, blob: bytes) -> bool:
    """Write all of it; False when the other end is closed or full."""
    if blob and fd in CLOSED:
        return False
    try:
        while blob:
            blob = blob[posix.write(fd, blob) :]
    except OSError:
        return False
    return True


def fill_standard_descriptors() -> None:
    """Open what is closed of 0, 1 and 2, so that no descriptor of ours takes its place."""
    while (fd := posix.open("/dev/null", posix.O_RDWR | posix.O_CLOEXEC)) <= 2:
        CLOSED.append(fd)


def set_alarm(limit_s: int) -> None:
    """Bound everything from now on: whatever blocks is left with Failed when the time is over."""

    def ring(_number: int, _frame: object) -> None:
        raise Failed(try_again(), f"no answer within {limit_s} s", "try again later")

    _signal.signal(_signal.SIGALRM, ring)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGALRM])
    _signal.alarm(limit_s)


STARTED_NS = time.monotonic_ns()
STDIN: list[bytes] = []
CLOSED: list[int] = []


def run() -> int:
    """The whole call, whatever happens; returns the exit status."""
    try:
        fill_standard_descriptors()
        set_alarm(DEADLINE_S)
        return main()
    except Failed as err:
        return failed(err, STDIN[-1] if STDIN else b"")
    except BaseException as err:  # noqa: BLE001 - the edge: the runtime must get an error it can read, never a traceback
        return failed(Failed(INTERNAL, "internal error: " + type(err).__name__ + ": " + str(err)), STDIN[-1] if STDIN else b"")


if __name__ == "__main__":
    posix._exit(run())
