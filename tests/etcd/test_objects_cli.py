"""`romana apply`, `get` and `delete` on a real etcd: what they print, and their exit codes."""

import asyncio
import io
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from romana.cli.main import main
from romana.store.api import Op, Put
from romana.store.etcd import EtcdStore
from romana.v1.store_pb2 import Receipt, Schema
from tests.etcd.server import EtcdServer

pytestmark = [pytest.mark.etcd]

POL1 = """
apiVersion: extensions/v1beta1
kind: NetworkPolicy
metadata: {name: pol1}
spec:
  podSelector: {matchLabels: {role: backend}}
  ingress:
  - from: [{podSelector: {matchLabels: {role: frontend}}}]
    ports: [{protocol: tcp, port: 80}]
"""
POD = "{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: team, labels: {app: web}}, spec: {nodeName: n1}}"
TEAM = "{apiVersion: v1, kind: Namespace, metadata: {name: team}}"
_numbers = itertools.count()


@dataclass(frozen=True)
class Done:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout as JSON."""
        return json.loads(self.out)


@dataclass
class Cli:
    """The command line on an empty store of its own."""

    endpoint: str
    prefix: str
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str, stdin: str = "") -> Done:
        self.monkeypatch.setattr(sys, "argv", ["romana", *arguments])
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = 0
        try:
            main()
        except SystemExit as err:
            code = int(err.code or 0)
        return Done(code, *self.capsys.readouterr())

    def write(self, *ops: Op) -> int:
        """A transaction of somebody else; its revision."""

        async def work() -> int:
            store = EtcdStore([self.endpoint], self.prefix)
            try:
                return (await store.txn([], ops)).revision
            finally:
                await store.close()

        return asyncio.run(work())

    def acknowledge(self, node: str, revision: int, *prefixes: str) -> None:
        """A node's receipt."""
        receipt = Receipt(applied=dict.fromkeys(prefixes or ("policies/", "namespaces/"), revision))
        self.write(Put(f"receipts/{node}/policyd", receipt.SerializeToString()))


@pytest.fixture
def cli(shared_etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    made = Cli(shared_etcd.target, f"/cli-{os.getpid()}-{next(_numbers)}/", monkeypatch, capsys)
    monkeypatch.setenv("ROMANA_CONFIG", os.devnull)
    monkeypatch.setenv("ROMANA_ETCD_ENDPOINTS", made.endpoint)
    monkeypatch.setenv("ROMANA_ETCD_PREFIX", made.prefix)
    made.write(Put("schema", Schema(major=1).SerializeToString()))
    return made


@contextmanager
def after(delay_s: float, cli: Cli, node: str, revision: int) -> Iterator[None]:
    """A node acknowledges a little later, from a thread of its own."""

    def work() -> None:
        time.sleep(delay_s)
        cli.acknowledge(node, revision)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()


def test_the_blogs_policy_is_applied_shown_and_deleted(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "pol1.yaml"
    file.write_text(POL1)
    first, again = cli("apply", "-f", str(file)), cli("apply", "-f", str(file))
    assert (first.code, first.out) == (0, "networkpolicy.networking.k8s.io/pol1 created\n")
    assert first.err == 'Warning: spec.ingress[0].ports[0].protocol: "tcp" is taken as "TCP"; networking.k8s.io/v1 refuses it\n'
    assert (again.code, again.out) == (0, "networkpolicy.networking.k8s.io/pol1 unchanged\n")
    assert cli("get", "netpol").out.splitlines() == ["NAME   POD-SELECTOR   POLICY-TYPES", "pol1   role=backend   Ingress"]
    deleted, gone = cli("delete", "-f", str(file)), cli("delete", "-f", str(file))
    assert (deleted.code, deleted.out) == (0, "networkpolicy.networking.k8s.io/pol1 deleted\n")
    assert (gone.code, gone.err) == (1, 'error: networkpolicies.networking.k8s.io "pol1" not found\n')


def test_objects_are_shown_as_by_kubectl(cli: Cli) -> None:
    assert cli("apply", "-f", "-", stdin=f"{POD}\n---\n{TEAM}\n---\n{POL1}").code == 0
    for resource in ("pod", "po", "pods"):
        assert cli("get", resource, "-n", "team").out.splitlines() == [
            "NAME   STATUS    IP       NODE   LABELS",
            "web    Pending   <none>   n1     app=web",
        ]
    assert cli("get", "pods", "-A").out.splitlines()[0].startswith("NAMESPACE   NAME")
    assert [line.split()[0] for line in cli("get", "ns").out.splitlines()] == ["NAME", "default", "kube-system", "team"]
    assert cli("get", "pods", "-n", "team", "-o", "name").out == "pod/web\n"
    listed = cli("get", "pods", "-A", "-o", "json").json
    assert (listed["kind"], [item["metadata"]["name"] for item in listed["items"]]) == ("List", ["web"])
    for one in (
        cli("get", "pods/web", "-n", "team", "-o", "json").json,
        cli("get", "pod", "web", "-n", "team", "-o", "json").json,
    ):
        assert one == listed["items"][0]
    whole = yaml.safe_load(cli("get", "netpol", "pol1", "-o", "yaml").out)
    assert (whole["apiVersion"], whole["spec"]["policyTypes"]) == ("networking.k8s.io/v1", ["Ingress"])


def test_what_is_shown_can_be_applied_again(cli: Cli) -> None:
    cli("apply", "-f", "-", stdin=f"{TEAM}\n---\n{POD}\n---\n{POL1}")
    for resource in ("pods", "netpol", "ns"):
        again = cli("apply", "--strict", "-f", "-", stdin=cli("get", resource, "-A", "-o", "yaml").out)
        assert (again.code, {line.split()[-1] for line in again.out.splitlines()}, again.err) == (0, {"unchanged"}, "")


def test_nothing_found_is_said_and_no_error(cli: Cli) -> None:
    assert (cli("get", "pods").code, cli("get", "pods").err) == (0, "No resources found in default namespace.\n")
    assert cli("get", "ns").err == "No resources found\n"
    assert cli("get", "pods", "-o", "json").json["items"] == []
    absent = cli("get", "pod", "web")
    assert (absent.code, absent.err) == (1, 'error: pods "web" not found\n')


def test_a_manifest_with_faults_is_refused_with_all_of_them_and_nothing_written(cli: Cli) -> None:
    done = cli("apply", "-f", "-", stdin=f"{TEAM}\n---\n{POL1.replace('80', '0').replace('backend', '-')}")
    assert (done.code, done.out) == (4, "")
    assert "document 2: spec.podSelector.matchLabels: Invalid value" in done.err
    assert "document 2: spec.ingress[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive" in done.err
    assert cli("get", "ns").out == ""


def test_an_absent_namespace_is_refused_in_the_words_of_the_api(cli: Cli) -> None:
    for options in ([], ["--dry-run"]):
        done = cli("apply", "-f", "-", *options, stdin=POD)
        assert (done.code, 'namespaces "team" not found' in done.err) == (4, True)


def test_a_dry_run_says_so_and_writes_nothing(cli: Cli) -> None:
    done = cli("apply", "-f", "-", "--dry-run", "--wait", stdin=f"{TEAM}\n---\n{POD}")
    assert (done.code, done.out) == (0, "namespace/team created (dry run)\npod/web created (dry run)\n")
    assert cli("get", "ns").out == ""


def test_odd_fields_are_warned_of_and_refused_when_strict(cli: Cli) -> None:
    odd = TEAM.replace("metadata", "meta: {}, metadata")
    assert cli("apply", "-f", "-", stdin=odd).err == 'Warning: unknown field "meta"\n'
    strict = cli("apply", "-f", "-", "--strict", stdin=odd)
    assert (strict.code, 'strict decoding error: unknown field "meta"' in strict.err) == (4, True)


def test_json_tells_what_became_of_each_object(cli: Cli) -> None:
    done = cli("apply", "-f", "-", "-o", "json", "--wait", stdin=f"{TEAM}\n---\n{POD}").json
    assert [(one["object"], one["action"], one["changed"]) for one in done["objects"]] == [
        ("namespace/team", "created", True),
        ("pod/team/web", "created", True),
    ]
    assert list(done["objects"][1]["revisions"]) == ["pods/team/"]
    assert done["waited"] == {"enforced": [], "behind": [], "silent": [], "done": True, "ms": done["waited"]["ms"]}
    deleted = cli("delete", "pod/web", "-n", "team", "-o", "json").json
    assert [one["action"] for one in deleted["objects"]] == ["deleted"]


def test_without_a_live_node_waiting_says_so(cli: Cli) -> None:
    done = cli("apply", "-f", "-", "--wait", stdin=POL1)
    assert (done.code, done.out.splitlines()[1]) == (0, "no live node watches this: there is nothing to wait for")


def test_waiting_ends_when_the_node_is_there(cli: Cli) -> None:
    cli.acknowledge("n1", 1)
    with after(0.4, cli, "n1", 2**40):
        done = cli("apply", "-f", "-", "--wait", stdin=POL1)
    assert (done.code, done.out.splitlines()[1].startswith("in force on 1 node after ")) == (0, True)
    assert done.out.split()[-2].isdigit()
    assert cli("apply", "-f", "-", "--wait", stdin=POL1).code == 0


def test_a_node_that_is_behind_at_the_timeout_is_named(cli: Cli) -> None:
    cli.acknowledge("n1", 1)
    cli.acknowledge("n2", 2**40)
    cli("apply", "-f", "-", stdin=POL1)
    for command in (["apply", "-f", "-"], ["delete", "netpol", "pol1"]):
        done = cli(*command, "--wait", "--timeout", "200ms", stdin=POL1)
        assert (done.code, done.err.splitlines()[-1]) == (3, "not in force on n1 after 200ms: it is behind")
        assert done.out.splitlines()[-1].startswith("in force on 1 node after ")


def test_a_namespace_is_deleted_after_what_a_manifest_names_in_it(cli: Cli) -> None:
    manifest = f"{TEAM}\n---\n{POD}"
    cli("apply", "-f", "-", stdin=manifest)
    done = cli("delete", "-f", "-", stdin=manifest)
    assert (done.code, done.out) == (0, "pod/web deleted\nnamespace/team deleted\n")
    cli("apply", "-f", "-", stdin=manifest)
    assert cli("delete", "ns", "team").out == "namespace/team deleted\n"
    assert cli("get", "pods", "-A").out == ""
    protected = cli("delete", "ns", "default")
    assert (protected.code, "this namespace may not be deleted" in protected.err) == (4, True)


def test_of_several_to_delete_those_that_are_there_go(cli: Cli) -> None:
    cli("apply", "-f", "-", stdin=f"{TEAM}\n---\n{POD}")
    done = cli("delete", "pod", "x", "web", "y", "-n", "team")
    assert (done.code, done.out) == (1, "pod/web deleted\n")
    assert done.err == 'error: pods "x" not found\nerror: pods "y" not found\n'
    assert cli("delete", "pod", "x", "--ignore-not-found").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["get", "services"],
        ["get", "pods/"],
        ["get", "pods/a", "b"],
        ["get", "pods", "a", "-A"],
        ["delete"],
        ["delete", "pods"],
        ["delete", "pods", "a", "-f", "-"],
        ["delete", "services", "a"],
        ["apply"],
        ["apply", "-f", "-", "--timeout", "soon"],
        ["apply", "-f", "-", "--timeout", "1m5"],
        ["apply", "-f", "-", "--timeout", ""],
        ["delete", "pod", "a", "--timeout", "-1s"],
    ],
)
def test_wrong_usage_is_exit_code_2(cli: Cli, arguments: list[str]) -> None:
    assert cli(*arguments).code == 2


def test_another_namespace_than_asked_for_is_refused(cli: Cli) -> None:
    cli("apply", "-f", "-", stdin=TEAM)
    done = cli("apply", "-f", "-", "-n", "default", stdin=POD)
    assert (done.code, "metadata.namespace" in done.err) == (4, True)
    assert cli("apply", "-f", "-", "-n", "team", stdin=POD).code == 0


@pytest.mark.parametrize("text", ["30s", "500ms", "1m30s", "2", "0.5s", "1h"])
def test_timeouts_are_durations(cli: Cli, text: str) -> None:
    assert cli("apply", "-f", "-", "--timeout", text, stdin=TEAM).code == 0
