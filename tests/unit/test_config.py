"""The configuration: precedence of its sources, and every fault at once."""

import json
import re
from pathlib import Path

import pytest

from romana.config import Config, load
from romana.errors import ConfigError


def faults_of(path: Path | None = None, **environ: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ)
    return {fault.path: fault.message for fault in caught.value.faults}


def test_defaults_are_those_of_one_machine() -> None:
    config = load(environ={})
    assert config == Config()
    assert config.ipam.listen == ["127.0.0.1:9600", "unix:/run/romana/ipamd.sock"]


def test_later_sources_win(tmp_path: Path) -> None:
    main = tmp_path / "config.toml"
    main.write_text('[node]\nname = "a"\n[agent]\nmtu = 1400\nsocket = "/a"\n[etcd]\nendpoints = ["a:1"]\n')
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/20-b.toml").write_text('[node]\nname = "c"\n')
    (tmp_path / "conf.d/10-a.toml").write_text('[node]\nname = "b"\n[agent]\nmtu = 1450\n')
    environ = {"ROMANA_CONFIG": str(main), "ROMANA_AGENT_MTU": "9000", "ROMANA_ETCD_ENDPOINTS": "x:1, y:2", "ROMANA_LAB": "?"}
    config = load(environ=environ, overrides={"agent.mtu": 1300})
    assert (config.node.name, config.agent.mtu, config.agent.socket) == ("c", 1300, "/a")
    assert config.etcd.endpoints == ["x:1", "y:2"]
    assert load(main, {"ROMANA_IPAM_INSECURE": "true", "ROMANA_AGENT_POD_WAIT_S": "2.5"}).agent.pod_wait_s == 2.5


def test_every_fault_comes_at_once_with_path_value_and_way_out(tmp_path: Path) -> None:
    main = tmp_path / "config.toml"
    main.write_text(
        '[agent]\nmtu = -1\nsockett = "/x"\n[ipam]\nlisten = "here"\n[node]\nname = "UPPER"\n[nodee]\n[log]\nlevel = "LOUD"\n'
    )
    found = faults_of(main, ROMANA_IPAM_INSECURE="maybe", ROMANA_AGENT_IPAM_TIMEOUT_S="soon")
    assert set(found) >= {"agent.mtu", "agent.sockett", "ipam.listen", "nodee", "log.level", "ROMANA_IPAM_INSECURE"}
    assert "ROMANA_AGENT_IPAM_TIMEOUT_S" in found
    assert "did you mean 'socket'?" in found["agent.sockett"]
    assert "did you mean 'node'?" in found["nodee"]
    assert "-1" in found["agent.mtu"]


def test_a_node_name_must_be_a_dns_name() -> None:
    assert "Node_1" in faults_of(ROMANA_NODE_NAME="Node_1")["node.name"]


@pytest.mark.parametrize("text", ["[", "a = ", "\x00", "[a]\n[a]"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    assert "TOML" in faults_of(path)[str(path)]


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    assert "cannot be read" in faults_of(ROMANA_CONFIG=str(missing))[str(missing)]
    (tmp_path / "latin.toml").write_bytes(b'[node]\nname = "\xff"\n')
    assert faults_of(tmp_path / "latin.toml")


def test_a_section_must_be_a_table(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("node = 3\n")
    assert "3" in faults_of(path)["node"]


@pytest.mark.parametrize(
    ("variable", "text", "path"),
    [
        ("ROMANA_ETCD_ENDPOINTS", "", "etcd.endpoints"),
        ("ROMANA_IPAM_ENDPOINTS", " , ", "ipam.endpoints"),
        ("ROMANA_ETCD_ENDPOINTS", "a:1,http://127.0.0.1:2379", "etcd.endpoints.1"),
        ("ROMANA_ETCD_ENDPOINTS", "127.0.0.1", "etcd.endpoints.0"),
        ("ROMANA_ETCD_ENDPOINTS", "127.0.0.1:0", "etcd.endpoints.0"),
        ("ROMANA_ETCD_ENDPOINTS", "127.0.0.1:65536", "etcd.endpoints.0"),
        ("ROMANA_IPAM_ENDPOINTS", "::1:9600", "ipam.endpoints.0"),
        ("ROMANA_IPAM_ENDPOINTS", "[::x]:9600", "ipam.endpoints.0"),
        ("ROMANA_IPAM_ENDPOINTS", "unix:run/x", "ipam.endpoints.0"),
        ("ROMANA_IPAM_ENDPOINTS", "unix:/", "ipam.endpoints.0"),
        ("ROMANA_IPAM_LISTEN", "", "ipam.listen"),
        ("ROMANA_IPAM_LISTEN", "localhost:9600", "ipam.listen"),
        ("ROMANA_IPAM_LISTEN", "0.0.0.0:9600", "ipam.listen"),
        ("ROMANA_AGENT_MTU", "1", "agent.mtu"),
        ("ROMANA_AGENT_MTU", "67", "agent.mtu"),
        ("ROMANA_AGENT_MTU", "65536", "agent.mtu"),
    ],
)
def test_what_a_daemon_would_die_of_is_a_fault_of_the_configuration(variable: str, text: str, path: str) -> None:
    assert set(faults_of(None, **{variable: text})) == {path}


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("ROMANA_ETCD_ENDPOINTS", "127.0.0.1:2379,etcd-0.etcd.kube-system.svc:2379,[::1]:2379"),
        ("ROMANA_ETCD_ENDPOINTS", "unix:/run/romana-lab/lab/etcd/client:2379"),
        ("ROMANA_IPAM_LISTEN", "[::1]:9600,unix:/run/x.sock"),
        ("ROMANA_AGENT_MTU", "68"),
        ("ROMANA_AGENT_MTU", "0"),
    ],
)
def test_every_way_to_name_a_service_is_taken(variable: str, text: str) -> None:
    load(environ={variable: text})


def test_all_faults_of_all_sections_come_at_once() -> None:
    found = faults_of(ROMANA_AGENT_MTU="5", ROMANA_IPAM_LISTEN="[::]:9600", ROMANA_ETCD_ENDPOINTS="x", ROMANA_AGENT_SOKET="/x")
    assert set(found) == {"agent.mtu", "ipam.listen", "etcd.endpoints.0", "ROMANA_AGENT_SOKET"}
    assert "must be 0 or at least 68" in found["agent.mtu"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ROMANA_AGENT_SOKET", "ROMANA_AGENT_SOCKET"),
        ("ROMANA_ETC_ENDPOINTS", "ROMANA_ETCD_ENDPOINTS"),
        ("ROMANA_AGNET_MTU", "ROMANA_AGENT_MTU"),
        ("ROMANA_NODES_NAME", "ROMANA_NODE_NAME"),
        ("ROMANA_LOG_XYZZY", "ROMANA_LOG_LEVEL"),
    ],
)
def test_a_mistyped_variable_is_a_fault_that_names_the_one_meant(name: str, meant: str) -> None:
    assert meant in faults_of(None, **{name: "1"})[name]


@pytest.mark.parametrize(
    "name",
    [
        "ROMANA_STARTED_NS",
        "ROMANA_LAB",
        "ROMANA_FOO_BAR",
        "ROMANA_",
        "ROMANA__X",
        "ROMANA_ETCD_SERVICE_HOST",
        "ROMANA_ETCD_SERVICE_PORT_CLIENT",
        "ROMANA_ETCD_PORT",
        "ROMANA_IPAM_PORT_9600_TCP_ADDR",
    ],
)
def test_variables_of_others_are_left_alone(name: str) -> None:
    assert load(environ={name: "tcp://10.0.0.1:2379"}) == Config()


def test_every_key_is_documented_with_its_default() -> None:
    page = (Path(__file__).parents[2] / "docs/configuration.md").read_text()
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| `")]
    documented = {key: default.strip() for keys, default in rows for key in re.findall(r"`([a-z_]+\.[a-z_0-9]+)`", keys)}
    defaults = {f"{section}.{key}": value for section, keys in Config().model_dump().items() for key, value in keys.items()}
    assert documented == {key: f"`{json.dumps(value)}`" for key, value in defaults.items()}
