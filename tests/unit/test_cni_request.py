"""Environment and standard input of a call: what is taken, what is refused, with which code."""

import json
from typing import Any

import pytest

from cni.errors import CniError, from_ipam
from cni.netconf import VERSIONS, NetConf, stated_version
from cni.request import PodId, Request, parse_args
from romana.errors import Fault, InvalidInput

ENVIRON = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c" * 64,
    "CNI_NETNS": "/run/netns/pod",
    "CNI_IFNAME": "eth0",
}
CONF = {"cniVersion": "1.0.0", "name": "romana", "type": "romana"}


def parse(conf: Any = None, **environ: str) -> Request:
    stdin = conf if isinstance(conf, bytes) else json.dumps(CONF | (conf or {})).encode()
    return Request.parse(ENVIRON | environ, stdin)


def refusal(conf: Any = None, **environ: str) -> CniError:
    with pytest.raises(CniError) as caught:
        parse(conf, **environ)
    return caught.value


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_of_the_specification_is_taken(version: str) -> None:
    assert parse({"cniVersion": version}).conf.version == version


@pytest.mark.parametrize("absent", [{"cniVersion": ""}, {"cniVersion": None}])
def test_absent_version_means_0_1_0(absent: dict[str, Any]) -> None:
    assert parse(absent).conf.version == "0.1.0"


@pytest.mark.parametrize("version", ["9.9.9", "1.2.0", "0.3", "1.0.0 ", "v1.0.0"])
def test_unsupported_version_is_code_1_and_lists_ours(version: str) -> None:
    err = refusal({"cniVersion": version})
    assert (err.code, err.msg) == (1, "incompatible CNI versions")
    assert f'config is "{version}"' in err.details
    assert " ".join(VERSIONS) in err.details


@pytest.mark.parametrize(
    "stdin",
    [b"", b"{", b"[]", b"null", b"5", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"name": 5}', b'{"name": "a", "cniVersion": 1}',
     b'{"name": "a", "cniVersion": 0}', b'{"name": false}', b"1" * 5000],
)  # fmt: skip
def test_what_is_no_configuration_is_code_6(stdin: bytes) -> None:
    assert refusal(stdin).code == 6


@pytest.mark.parametrize("name", [None, "", "-a", "a b", "ä", "a/b", "."])
def test_missing_or_odd_network_name_is_code_7(name: Any) -> None:
    assert refusal({"name": name}).code == 7


def test_unknown_keys_duplicates_and_a_byte_order_mark_do_no_harm() -> None:
    twice = b'\xef\xbb\xbf{"name":"x","name":"romana","cniVersion":"1.0.0",'
    stdin = twice + b'"ipam":{},"runtimeConfig":5,"cni.dev/x":[],"CNIVersion":"q"}'
    assert parse(stdin).conf == NetConf("romana", "1.0.0")


def test_configuration_of_several_mebibytes_is_taken() -> None:
    assert parse({"comment": "x" * (3 << 20)}).conf.name == "romana"


@pytest.mark.parametrize(
    ("conf", "named"),
    [
        ({"mtu": "x"}, 'mtu is "x"'),
        ({"mtu": 67}, "mtu is 67"),
        ({"mtu": 65536}, "mtu is 65536"),
        ({"mtu": True}, "mtu is true"),
        ({"mtu": 1500.5}, "mtu is 1500.5"),
        ({"dns": []}, "dns is an array"),
        ({"dns": {"nameservers": ["not-an-ip"]}}, "'not-an-ip'"),
        ({"dns": {"nameservers": "10.0.0.1"}}, "dns.nameservers"),
        ({"dns": {"domain": 5}}, "dns.domain"),
        ({"dns": {"search": [5]}}, "dns.search"),
    ],
)
def test_own_keys_that_are_wrong_are_code_7_on_add_and_ignored_on_del(conf: dict[str, Any], named: str) -> None:
    err = refusal(conf)
    assert err.code == 7
    assert named in err.msg
    assert parse(conf, CNI_COMMAND="DEL").command == "DEL"


def test_all_wrong_own_keys_are_named_at_once() -> None:
    err = refusal({"mtu": 1, "dns": {"nameservers": ["x"]}})
    assert "mtu" in err.msg
    assert "nameservers" in err.msg


def test_missing_variables_are_named_together() -> None:
    assert refusal(CNI_CONTAINERID="", CNI_NETNS="").msg == "required env variables [CNI_CONTAINERID,CNI_NETNS] missing"
    assert refusal(CNI_CONTAINERID="", CNI_NETNS="").code == 4


def test_del_needs_no_namespace() -> None:
    assert parse(CNI_COMMAND="DEL", CNI_NETNS="").netns == ""


@pytest.mark.parametrize("command", ["FOO", "add", "GC", "STATUS", "VERSION "])
def test_unknown_command_is_code_4(command: str) -> None:
    err = refusal(CNI_COMMAND=command)
    assert (err.code, err.msg) == (4, f"unknown CNI_COMMAND: {command}")


@pytest.mark.parametrize("good", ["a", "0", "a_b.c-d", "x" * 255])
def test_container_ids_of_the_specification_are_taken(good: str) -> None:
    assert parse(CNI_CONTAINERID=good).attachment.container_id == good


@pytest.mark.parametrize("bad", ["-a", ".a", "a/b", "a b", "ä", "a\n"])
def test_other_container_ids_are_code_4(bad: str) -> None:
    assert refusal(CNI_CONTAINERID=bad).code == 4


@pytest.mark.parametrize("good", ["eth0", "a" * 15, "net.1", "é"])
def test_interface_names_that_linux_takes_are_taken(good: str) -> None:
    assert parse(CNI_IFNAME=good).attachment.ifname == good


@pytest.mark.parametrize("bad", ["a" * 16, ".", "..", "a/b", "a:b", "a b", "a\u00a0b", "a\tb", "é" * 8])
def test_other_interface_names_are_code_4(bad: str) -> None:
    assert refusal(CNI_IFNAME=bad).code == 4


@pytest.mark.parametrize(
    ("args", "pod"),
    [
        ("", None),
        (";;", None),
        ("IgnoreUnknown=1;K8S_POD_NAME=p1", None),
        ("K8S_POD_NAMESPACE=a;K8S_POD_NAME=b", PodId("a", "b", "")),
        ("K8S_POD_UID=u;K8S_POD_NAME=b;IP=;MAC=;IgnoreUnknown=true;K8S_POD_NAMESPACE=a;X=y=z", PodId("a", "b", "u")),
        ("K8S_POD_INFRA_CONTAINER_ID=c;K8S_POD_NAMESPACE=a;K8S_POD_NAME=b;", PodId("a", "b", "")),
    ],
)
def test_the_pod_is_what_the_arguments_name(args: str, pod: PodId | None) -> None:
    assert parse(CNI_ARGS=args).pod == pod


@pytest.mark.parametrize(
    "args",
    ["nonsense", "=x", "X=y", "IgnoreUnknown=0;X=y", "K8S_POD_NAMESPACE=A;K8S_POD_NAME=b", "K8S_POD_NAMESPACE=a;K8S_POD_NAME=b/c",
     "IP=10.0.0.1", "MAC=02:00:00:00:00:01"],
)  # fmt: skip
def test_arguments_that_cannot_be_followed_are_code_4_on_add_and_ignored_on_del(args: str) -> None:
    assert refusal(CNI_ARGS=args).code == 4
    assert parse(CNI_ARGS=args, CNI_COMMAND="DEL").pod is None


@pytest.mark.parametrize(
    ("args", "named"),
    [
        ("K8S_POD_NAMESPACE=a;K8S_POD_NAME=", "K8S_POD_NAME"),
        ("K8S_POD_NAMESPACE=a", "K8S_POD_NAME"),
        ("K8S_POD_NAME=", "K8S_POD_NAME"),
        ("K8S_POD_NAMESPACE=;K8S_POD_NAME=b", "K8S_POD_NAMESPACE"),
        ("K8S_POD_UID=u", "K8S_POD_NAME"),
        ("K8S_POD_NAME=b;K8S_POD_UID=u", "K8S_POD_NAMESPACE"),
    ],
)
def test_half_a_pod_is_code_4_naming_what_is_missing_and_never_anonymous(args: str, named: str) -> None:
    err = refusal(CNI_ARGS=f"IgnoreUnknown=1;{args}")
    assert (err.code, f"{named} empty or missing" in err.msg) == (4, True)
    assert parse(CNI_ARGS=args, CNI_COMMAND="DEL").pod is None


def test_arguments_are_split_at_the_first_equals_sign() -> None:
    assert parse_args("IgnoreUnknown=1;A=b=c")["A"] == "b=c"


def test_attachment_is_network_container_and_interface_never_the_pod() -> None:
    first = parse(CNI_ARGS="K8S_POD_NAMESPACE=a;K8S_POD_NAME=b")
    second = parse(CNI_ARGS="K8S_POD_NAMESPACE=a;K8S_POD_NAME=c")
    assert first.attachment == second.attachment
    assert parse(CNI_IFNAME="net1").attachment != first.attachment


@pytest.mark.parametrize(
    ("stdin", "version"),
    [(b'{"cniVersion":"0.3.1"}', "0.3.1"), (b"{}", "0.1.0"), (b"", "1.1.0"), (b'{"cniVersion":"9"}', "1.1.0"), (b"[", "1.1.0")],
)
def test_errors_are_told_in_the_configurations_version_where_it_is_ours(stdin: bytes, version: str) -> None:
    assert stated_version(stdin) == version


def test_a_container_id_of_255_characters_works_and_no_longer_one() -> None:
    assert parse(CNI_CONTAINERID="x" * 255).attachment.container_id == "x" * 255
    error = refusal(CNI_CONTAINERID="x" * 256)
    assert (error.code, "CNI_CONTAINERID" in str(error)) == (4, True)


def test_a_network_name_of_255_characters_works_and_no_longer_one() -> None:
    assert parse({"name": "n" * 255}).attachment.conf == "n" * 255
    error = refusal({"name": "n" * 256})
    assert (error.code, "network name" in str(error)) == (7, True)


@pytest.mark.parametrize("name", ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"])
def test_bytes_that_are_no_text_are_code_4_naming_the_variable(name: str) -> None:
    assert (refusal(**{name: "a\udcff"}).code, name in refusal(**{name: "a\udcff"}).msg) == (4, True)


def test_namespace_of_a_pod_is_a_label() -> None:
    assert "K8S_POD_NAMESPACE" in refusal(CNI_ARGS="K8S_POD_NAMESPACE=a.b;K8S_POD_NAME=c").msg


@pytest.mark.parametrize(
    ("path", "code", "named"),
    [
        ("pod.uid", 4, "CNI_ARGS"),
        ("attachment.container_id", 4, "CNI_CONTAINERID"),
        ("attachment.ifname", 4, "CNI_IFNAME"),
        ("attachment.conf", 7, "attachment.conf"),
        ("node_uid", 7, "node_uid"),
    ],
)
def test_refusal_of_ipamd_is_told_as_a_fault_of_where_the_value_came_from(path: str, code: int, named: str) -> None:
    error = from_ipam(InvalidInput("the request is wrong", [Fault(path, "is odd")]))
    assert (error.code, named in error.msg) == (code, True)


@pytest.mark.parametrize("name", ["eth%d", "%s", "all", "default"])
def test_names_that_the_kernel_takes_for_something_else_are_code_4(name: str) -> None:
    assert refusal(CNI_IFNAME=name).code == 4


@pytest.mark.parametrize("uid", ["x" * 129, "é", "a\tb", "-a"])
def test_a_faulty_pod_uid_is_a_fault_of_the_environment(uid: str) -> None:
    error = refusal(CNI_ARGS=f"K8S_POD_NAMESPACE=a;K8S_POD_NAME=b;K8S_POD_UID={uid}")
    assert (error.code, "K8S_POD_UID" in str(error)) == (4, True)
