"""Both shims as processes, executed as a runtime would, under environments that a runtime might have. One suite for the two."""

import json
import os
import random
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cni import errors, shim
from cni.agent_wire import HEADER_BYTES, encode_answer, parse_environment, parse_header
from cni.bytecode import SOURCE, packed
from cni.compiling import compiled_shim
from cni.install import Shim, install
from cni.netconf import CURRENT_VERSION, VERSIONS
from cni.node_request import NODE_COMMANDS
from cni.request import REQUIRED

CALL = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/proc/self/ns/net",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/x",
}
CONF = b'{"cniVersion":"0.4.0","name":"romana","type":"romana"}'


@dataclass
class FakeAgent:
    """Answers one request after the other; `answers` holds whole answers, None closes the connection."""

    path: Path
    answers: list[bytes | None]
    requests: list[tuple[dict[str, str], bytes, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._listener.settimeout(20)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        for answer in self.answers:
            connection, _ = self._listener.accept()
            with connection:
                self._receive(connection)
                if answer is not None:
                    connection.sendall(answer)

    def _receive(self, connection: socket.socket) -> None:
        data, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 4)
        environment, stdin = parse_header(data[:HEADER_BYTES])
        while len(data) < HEADER_BYTES + environment + stdin:
            data += connection.recv(1 << 20)
        for descriptor in descriptors:
            os.close(descriptor)
        end = HEADER_BYTES + environment
        self.requests.append((dict(parse_environment(data[HEADER_BYTES:end])), data[end:], len(descriptors)))

    def close(self) -> None:
        self._thread.join()
        self._listener.close()


@pytest.fixture(params=[Shim.PYTHON, Shim.C])
def kind(request: pytest.FixtureRequest) -> Shim:
    """Which of the two."""
    kind: Shim = request.param
    if kind is Shim.C and not shutil.which("gcc"):
        pytest.skip("no C compiler; ./dev setup installs gcc")
    return kind


@pytest.fixture
def binary(tmp_path: Path, kind: Shim) -> Path:
    install(tmp_path / "bin", tmp_path / "conf", f"{tmp_path}/agent.sock", shim=kind)
    return tmp_path / "bin" / "romana"


@pytest.fixture
def agent(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[FakeAgent]:
    made = FakeAgent(tmp_path / "agent.sock", getattr(request, "param", [encode_answer(0, b'{"answer": true}\n')]))
    yield made
    made.close()


def run(binary: Path, environ: dict[str, str], stdin: bytes = CONF, **more: Any) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([binary], env=environ, input=stdin, capture_output=True, check=False, timeout=60, **more)


def failure(ran: "subprocess.CompletedProcess[bytes]") -> dict[str, Any]:
    assert ran.returncode == 1
    assert ran.stderr == b""
    document: dict[str, Any] = json.loads(ran.stdout)
    return document


def test_call_goes_to_the_agent_and_its_answer_to_the_runtime(binary: Path, agent: FakeAgent) -> None:
    ran = run(binary, CALL | {"HOME": "/root", "CNI_ARGS": "A=b=c;D=é"})
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b'{"answer": true}\n', b"")
    environ, stdin, descriptors = agent.requests[0]
    assert int(environ.pop("ROMANA_STARTED_NS")) < time.monotonic_ns()
    assert environ == CALL | {"CNI_ARGS": "A=b=c;D=é"}
    assert (stdin, descriptors) == (CONF, 1)


@pytest.mark.parametrize("agent", [[encode_answer(1, b'{"code": 7}')]], indirect=True)
def test_failure_of_the_agent_is_the_runtimes(binary: Path, agent: FakeAgent) -> None:
    assert failure(run(binary, CALL)) == {"code": 7}


@pytest.mark.parametrize("agent", [[encode_answer(0, b"")]], indirect=True)
def test_del_needs_no_namespace_and_prints_nothing(binary: Path, agent: FakeAgent) -> None:
    ran = run(binary, CALL | {"CNI_COMMAND": "DEL", "CNI_NETNS": "/gone"})
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
    assert agent.requests[0][2] == 0


@pytest.mark.parametrize("agent", [[encode_answer(0, b"x" * 3_000_000)]], indirect=True)
def test_several_mebibytes_pass_both_ways(binary: Path, agent: FakeAgent) -> None:
    ran = run(binary, CALL, stdin=b" " * 5_000_000)
    assert len(ran.stdout) == 3_000_000
    assert len(agent.requests[0][1]) == 5_000_000


HOSTILE = {
    "PYTHONHOME": "/nowhere",
    "PYTHONPATH": "/nowhere",
    "PYTHONSTARTUP": "/etc/passwd",
    "PYTHONINSPECT": "1",
    "PYTHONVERBOSE": "2",
    "PYTHONUNBUFFERED": "1",
    "PYTHONWARNINGS": "error",
    "PYTHONMALLOC": "bogus",
    "PYTHONIOENCODING": "bogus",
    "PYENV_ROOT": "/nowhere",
    "LANG": "tr_TR.ISO-8859-9",
    "LC_ALL": "bogus",
    "PATH": "",
    "TRACEPARENT": "00-0-0-00",
    "CNI_ODD": "\udcff\udcfe",
}


def test_hostile_environment_changes_nothing(binary: Path, agent: FakeAgent) -> None:
    ran = run(binary, CALL | HOSTILE)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b'{"answer": true}\n', b"")


def test_deleted_working_directory_and_foreign_modules_change_nothing(binary: Path, agent: FakeAgent, tmp_path: Path) -> None:
    for place in (tmp_path / "gone", binary.parent):
        place.mkdir(exist_ok=True)
        for module in ("_socket", "posix", "json", "time", "_signal"):
            (place / f"{module}.py").write_text("raise SystemExit(7)")
    command = f"cd {tmp_path}/gone && rm -r {tmp_path}/gone && exec {binary}"
    ran = subprocess.run(["sh", "-c", command], env=CALL, input=CONF, capture_output=True, check=False, timeout=60)
    assert (ran.returncode, ran.stdout) == (0, b'{"answer": true}\n')


@pytest.mark.parametrize("closed", ["0<&-", "2>&-", "0<&- 2>&-"])
def test_closed_standard_descriptors_do_no_harm(binary: Path, agent: FakeAgent, closed: str) -> None:
    ran = subprocess.run(["sh", "-c", f"exec {binary} {closed}"], env=CALL, capture_output=True, check=False, timeout=60)
    assert (ran.returncode, ran.stdout) == (0, b'{"answer": true}\n')
    assert agent.requests[0][2] == 1


@pytest.mark.parametrize("stdout", [">&-", ">/dev/full"])
def test_a_result_that_nobody_can_read_is_a_failure(binary: Path, agent: FakeAgent, stdout: str) -> None:
    ran = subprocess.run(["sh", "-c", f"exec {binary} {stdout}"], env=CALL, input=CONF, check=False, timeout=60)
    assert ran.returncode == 1


@pytest.mark.parametrize("stdout", [">&-", ">/dev/full"])
def test_a_version_that_nobody_can_read_is_a_failure(binary: Path, stdout: str) -> None:
    environ = {"CNI_COMMAND": "VERSION"}
    ran = subprocess.run(["sh", "-c", f"exec {binary} {stdout}"], env=environ, input=b"", check=False, timeout=60)
    assert ran.returncode == 1


@pytest.mark.parametrize("command", ["ADD", "DEL"])
def test_environment_that_is_no_utf8_is_code_4_naming_the_variable(binary: Path, command: str) -> None:
    environ = {name.encode(): value.encode() for name, value in CALL.items()}
    environ |= {b"CNI_COMMAND": command.encode(), b"CNI_IFNAME": b"a\xff"}
    ran = subprocess.run([binary], env=environ, input=CONF, capture_output=True, check=False, timeout=60)
    document = failure(ran)
    assert (document["code"], "CNI_IFNAME" in document["msg"]) == (4, True)


def test_an_error_of_the_environment_carries_the_version_of_the_configuration(binary: Path) -> None:
    document = failure(run(binary, CALL | {"CNI_COMMAND": "FOO"}, b'{"cniVersion":"0.3.1","name":"x","type":"romana"}'))
    assert (document["code"], document["cniVersion"]) == (4, "0.3.1")


def test_closed_standard_output_does_not_reach_the_agent(binary: Path, agent: FakeAgent) -> None:
    ran = subprocess.run(
        ["sh", "-c", f"exec {binary} >&-"], env=CALL, input=CONF, stderr=subprocess.PIPE, check=False, timeout=60
    )
    assert ran.stderr == b""
    assert agent.requests[0][1] == CONF


@pytest.mark.parametrize("version", VERSIONS)
def test_version_is_answered_without_an_agent(binary: Path, version: str) -> None:
    dummy = {"CNI_COMMAND": "VERSION", "CNI_NETNS": "dummy", "CNI_IFNAME": "dummy", "CNI_PATH": "dummy"}
    ran = run(binary, HOSTILE | dummy, stdin=json.dumps({"cniVersion": version}).encode())
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert json.loads(ran.stdout) == {"cniVersion": version, "supportedVersions": list(VERSIONS)}


@pytest.mark.parametrize(
    ("stdin", "version"),
    [
        (b"", "1.1.0"),
        (b"{}", "1.1.0"),
        (b"garbage", "1.1.0"),
        (b"[]", "1.1.0"),
        (b'{"cniVersion": 5}', "1.1.0"),
        (b'{"cniVersion":"9.9.9"}', "9.9.9"),
        (b'{"cniVersion":"\\u0031.0.0"}', "1.0.0"),
        (b'{"name":"x","cniVersion":"0.4.0","prevResult":{"cniVersion":"0.3.0"}}', "0.4.0"),
        (b'{"cniVersion":"a\\"b\\ud83d\\ude00"}', 'a"b\U0001f600'),
        (b'{"cniVersion":"\xff"}', "1.1.0"),
        (b'{"cniVersion":"a\x01b"}', "1.1.0"),
        (b'{"cniVersion":"\\q"}', "1.1.0"),
        (b'{"cniVersion":"\\u12"}', "1.1.0"),
    ],
)
def test_version_answers_whatever_stands_on_standard_input(binary: Path, stdin: bytes, version: str) -> None:
    ran = run(binary, {"CNI_COMMAND": "VERSION"}, stdin=stdin)
    assert (ran.returncode, json.loads(ran.stdout)["cniVersion"]) == (0, version)


@pytest.mark.parametrize("environ", [{}, {"CNI_COMMAND": ""}])
def test_without_a_command_it_says_what_it_is(binary: Path, environ: dict[str, str]) -> None:
    ran = run(binary, environ)
    assert (ran.returncode, ran.stdout) == (0, b"")
    assert b"0.1.0" in ran.stderr
    assert b"1.1.0" in ran.stderr


@pytest.mark.parametrize(
    ("change", "msg"),
    [
        ({"CNI_COMMAND": "FOO"}, "unknown CNI_COMMAND: FOO"),
        ({"CNI_COMMAND": "gc"}, "unknown CNI_COMMAND: gc"),
        ({"CNI_CONTAINERID": "", "CNI_NETNS": ""}, "required env variables [CNI_CONTAINERID,CNI_NETNS] missing"),
        ({"CNI_COMMAND": "DEL", "CNI_NETNS": "", "CNI_IFNAME": ""}, "required env variables [CNI_IFNAME] missing"),
    ],
)
def test_wrong_environment_is_code_4_without_an_agent(binary: Path, change: dict[str, str], msg: str) -> None:
    assert failure(run(binary, CALL | change)) | {"cniVersion": ""} == {"cniVersion": "", "code": 4, "msg": msg}


def test_errors_are_told_in_the_configurations_version(binary: Path, tmp_path: Path) -> None:
    assert failure(run(binary, CALL | {"CNI_NETNS": "/gone"}))["cniVersion"] == "0.4.0"
    assert failure(run(binary, CALL | {"CNI_NETNS": "/gone"}, stdin=b"{"))["cniVersion"] == "1.1.0"


def test_namespace_that_cannot_be_opened_is_code_8(binary: Path) -> None:
    document = failure(run(binary, CALL | {"CNI_NETNS": "/run/netns/gone"}))
    assert document["code"] == 8
    assert "/run/netns/gone" in document["msg"]


def test_pipe_for_a_namespace_does_not_hang(binary: Path, agent: FakeAgent, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert run(binary, CALL | {"CNI_NETNS": str(tmp_path / "pipe")}).returncode == 0


SHORT = {
    "deadline": ({"DEADLINE_S": "1"}, ("-DDEADLINE_S=1",)),
    "connect": ({"CONNECT_S": '{b"ADD": 0.6, b"CHECK": 0.2, b"DEL": 0.2}'}, ("-DCONNECT_ADD_MS=600",)),
    "answer": ({"ANSWER_S": '{b"ADD": 100, b"CHECK": 20, b"DEL": 1}'}, ("-DANSWER_DEL_S=1",)),
}


def shorten(binary: Path, kind: Shim, what: str) -> None:
    """Give the shim shorter patience."""
    constants, macros = SHORT[what]
    if kind is Shim.C:
        binary.unlink()
        binary.write_bytes(compiled_shim(*macros))
        binary.chmod(0o755)
        return
    text = SOURCE.read_text()
    for name, value in constants.items():
        text, count = re.subn(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
        assert count == 1
    binary.write_bytes(packed(text.encode()))


def test_absent_agent_is_code_11_after_the_commands_patience(binary: Path, kind: Shim) -> None:
    shorten(binary, kind, "connect")
    began = time.monotonic()
    document = failure(run(binary, CALL))
    assert document["code"] == 11
    assert "agent.sock" in document["msg"]
    assert time.monotonic() - began >= 0.6  # it did try; how long beyond that is the machine's affair


def test_agent_that_comes_late_is_waited_for(binary: Path, tmp_path: Path) -> None:
    process = subprocess.Popen([binary], env=CALL, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    time.sleep(0.3)
    late = FakeAgent(tmp_path / "agent.sock", [encode_answer(0, b"late")])
    assert process.communicate(CONF, timeout=30)[0] == b"late"
    late.close()


def test_agent_that_never_answers_is_code_11_within_the_deadline(binary: Path, kind: Shim, tmp_path: Path) -> None:
    shorten(binary, kind, "deadline")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "agent.sock"))
        listener.listen()
        document = failure(run(binary, CALL))
    assert (document["code"], document["msg"]) == (11, "no answer within 1 s")


def test_runtime_that_never_closes_its_end_is_code_11_within_the_deadline(binary: Path, kind: Shim) -> None:
    shorten(binary, kind, "deadline")
    reader, writer = os.pipe()
    ran = subprocess.run([binary], env=CALL, stdin=reader, capture_output=True, check=False, timeout=30)
    os.close(reader)
    os.close(writer)
    assert failure(ran)["code"] == 11


@pytest.mark.parametrize("agent", [[None]], indirect=True)
def test_agent_that_dies_during_an_add_is_code_11(binary: Path, agent: FakeAgent) -> None:
    assert failure(run(binary, CALL))["code"] == 11


@pytest.mark.parametrize("agent", [[None, b"\x00\x00", encode_answer(0, b"")]], indirect=True)
def test_agent_that_dies_during_a_del_is_asked_again(binary: Path, agent: FakeAgent) -> None:
    assert run(binary, CALL | {"CNI_COMMAND": "DEL"}).returncode == 0
    assert len(agent.requests) == 3


@pytest.mark.parametrize("kind", [Shim.PYTHON], indirect=True)
def test_bug_is_told_as_an_error_never_as_a_traceback(binary: Path) -> None:
    text = SOURCE.read_text()
    spoiled = text.replace("    check_environment(command, environ)\n", "    raise ValueError('a \"bug\"\\n')\n")
    assert spoiled != text
    binary.write_bytes(packed(spoiled.encode()))
    document = failure(run(binary, CALL))
    assert (document["code"], document["msg"]) == (999, 'internal error: ValueError: a "bug"\n')


def test_impossible_socket_path_is_told_at_once(binary: Path) -> None:
    binary.with_name("romana.socket").write_text("/" + "x" * 200)
    began = time.monotonic()
    assert failure(run(binary, CALL))["code"] == 11
    assert time.monotonic() - began < shim.CONNECT_S[b"ADD"]  # it does not wait for what can never be


@pytest.mark.parametrize("kind", [Shim.PYTHON], indirect=True)
def test_ordinary_path_imports_nothing_but_what_the_interpreter_has_at_hand(binary: Path, agent: FakeAgent) -> None:
    def imported(*arguments: str, environ: dict[str, str]) -> set[str]:
        command = ["/usr/bin/python3", "-IS", "-X", "importtime", *arguments]
        ran = subprocess.run(command, env=environ, input=CONF, capture_output=True, check=True, timeout=60)
        return set(re.findall(r"\|\s+(\S+)$", ran.stderr.decode(), re.MULTILINE))

    bare = imported("-c", "pass", environ={})
    assert imported(str(binary), environ=CALL) - bare <= {"_socket"}


def test_shim_says_what_the_agent_says() -> None:
    assert shim.VERSIONS == VERSIONS
    assert shim.CURRENT == CURRENT_VERSION
    named = {command.decode(): tuple(name.decode() for name in names) for command, names in shim.REQUIRED.items()}
    assert named == REQUIRED | dict.fromkeys(NODE_COMMANDS, ())
    assert shim.ANSWER_S.keys() == shim.CONNECT_S.keys() == shim.REQUIRED.keys()
    for code in ("INVALID_ENVIRONMENT", "INVALID_NETNS", "TRY_AGAIN", "NOT_AVAILABLE", "INTERNAL"):
        assert getattr(shim, code) == getattr(errors, code)


def stopped_agent(path: Path) -> socket.socket:
    """One that takes connections and never answers, like a stopped process."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


def test_del_does_not_wait_long_for_an_agent_that_is_stopped(binary: Path, kind: Shim, tmp_path: Path) -> None:
    shorten(binary, kind, "answer")
    with stopped_agent(tmp_path / "agent.sock"):
        document = failure(run(binary, CALL | {"CNI_COMMAND": "DEL"}))
    assert (document["code"], document["msg"]) == (11, "no answer within 1 s")
    assert shim.ANSWER_S[b"DEL"] <= 20


def test_del_carries_the_namespace_while_it_is_there(binary: Path, agent: FakeAgent) -> None:
    run(binary, CALL | {"CNI_COMMAND": "DEL"})
    assert agent.requests[0][2] == 1


@pytest.mark.parametrize("agent", [[encode_answer(0, b"")]], indirect=True)
@pytest.mark.parametrize("command", ["GC", "STATUS"])
def test_commands_about_the_node_need_no_container_and_carry_no_namespace(binary: Path, agent: FakeAgent, command: str) -> None:
    ran = run(binary, {"CNI_COMMAND": command, "CNI_PATH": "/x", "CNI_NETNS": "/proc/self/ns/net"})
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
    assert agent.requests[0][2] == 0


def test_status_without_an_agent_is_code_50(binary: Path) -> None:
    document = failure(run(binary, {"CNI_COMMAND": "STATUS"}))
    assert (document["code"], "agent.sock" in document["msg"]) == (50, True)


def test_binary_finds_its_sidecar_beside_the_path_it_was_executed_by(binary: Path, agent: FakeAgent, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere"
    link.symlink_to(binary)
    (tmp_path / "elsewhere.socket").write_text(f"  {tmp_path}/agent.sock \n")
    binary.with_name("romana.socket").unlink()
    assert run(link, CALL).returncode == 0


@pytest.mark.long
@pytest.mark.parametrize("kind", [Shim.C], indirect=True)
def test_random_input_finds_nothing_with_sanitizers(binary: Path, kind: Shim, tmp_path: Path) -> None:
    """gcc's address and undefined-behaviour sanitizers end the program with 99 when they find something."""
    program, source = tmp_path / "sanitized", Path(shim.__file__).with_name("shim.c")
    flags = ["-std=c11", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover"]
    subprocess.run(["gcc", *flags, "-o", program, source], check=True)
    dice = random.Random(7)  # noqa: S311 - the same inputs every time
    pieces = [
        b'{"cniVersion":"',
        b"0.4.0",
        b'"}',
        b"{",
        b"}",
        b'"',
        b"\\u00",
        b"\\",
        b"[",
        b"]",
        b":",
        b",",
        b"\0",
        b"\xff",
        b"\x01",
        b" ",
    ]
    quiet = {"ASAN_OPTIONS": "exitcode=99:detect_leaks=0", "UBSAN_OPTIONS": "exitcode=99"}
    for _ in range(1500):
        stdin = b"".join(dice.choices(pieces, k=dice.randrange(12)))
        environ = {
            "CNI_COMMAND": dice.choice(["VERSION", "ADD", "FOO", "DEL"]),
            "CNI_IFNAME": "\udcff" * dice.randrange(2),
        } | quiet
        ran = run(program, environ, stdin)
        assert ran.returncode in {0, 1}, (environ, stdin, ran.stderr)
        json.loads(ran.stdout)
