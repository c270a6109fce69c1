"""The configuration of daemons and command line: one TOML file, `conf.d/*.toml`, environment `ROMANA_*`, flags.

    /etc/romana/config.toml  <  /etc/romana/conf.d/*.toml (by name)  <  ROMANA_SECTION_KEY  <  flags        rising precedence

`ROMANA_CONFIG` names another file (its `conf.d` is beside it). `ROMANA_ETCD_ENDPOINTS=a,b` sets `etcd.endpoints`: lists are
separated by commas. All that is wrong is reported at once, each fault with its path and its source.
"""

import difflib
import os
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from romana.endpoints import check_endpoint
from romana.errors import ConfigError, Fault
from romana.health.address import check_health_address
from romana.names import is_node_name
from romana.rpc.server import check_listen
from romana.store.credentials import Credentials
from romana.variables import variable_fault

__all__ = [
    "AgentConfig",
    "Config",
    "EtcdConfig",
    "HealthConfig",
    "IpamConfig",
    "NodeConfig",
    "PolicyConfig",
    "load",
    "node_name",
    "read_boot_id",
]

DEFAULT_FILE = Path("/etc/romana/config.toml")

MTU_MIN, MTU_MAX = 68, 65535  # RFC 791 section 3.2: what every network must carry; linux/if_ether.h ETH_MAX_MTU

Seconds = Annotated[float, Field(gt=0, le=3600)]
Endpoint = Annotated[str, AfterValidator(check_endpoint)]
HealthAddress = Annotated[str, AfterValidator(check_health_address)]


def _check_mtu(mtu: int) -> int:
    if 0 < mtu < MTU_MIN:
        raise ValueError(f"must be 0 or at least {MTU_MIN}")
    return mtu


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class EtcdConfig(_Section):
    """Where etcd is."""

    endpoints: list[Endpoint] = Field(default=["127.0.0.1:2379"], min_length=1)
    """gRPC targets: `host:port`, or `unix:/path`."""
    prefix: str = Field(default="/romana/v1/", pattern=r"^/[A-Za-z0-9_./-]*/$")
    """Everything that we store is below it; it begins and ends with `/`."""
    ca: str = ""
    """File of the certificates that etcd's own is checked against; empty: no TLS. These files are read again when they change."""
    cert: str = ""
    """File of the client certificate, where etcd asks for one."""
    key: str = ""
    """File of its private key."""
    server_name: str = ""
    """Name that etcd's certificate must have; empty: the endpoint's host, `localhost` for a unix socket."""
    user: str = ""
    """User to log in to etcd as; empty: none, or the common name of the client certificate."""
    password_file: str = ""
    """File whose first line is the user's password."""

    def credentials(self) -> Credentials:
        """What a client of etcd needs of it."""
        return Credentials(self.ca, self.cert, self.key, self.server_name, self.user, self.password_file)


class IpamConfig(_Section):
    """Where ipamd listens and where its clients find it."""

    listen: list[str] = ["127.0.0.1:9600", "unix:/run/romana/ipamd.sock"]
    endpoints: list[Endpoint] = Field(default=["127.0.0.1:9600"], min_length=1)
    insecure: bool = False
    """Allow ipamd to listen, without TLS, on more than loopback and unix sockets."""
    cooldown_s: int = Field(default=30, ge=0, le=86400)
    """How long a released address rests before it is given out again, in seconds."""
    restore_hold_s: Seconds = 30.0
    """How long at least nothing is given out when the store was restored, for agents of nodes that it does not know to call."""
    check_interval_s: float = Field(default=300.0, ge=0, le=86400)
    """How often ipamd looks for leaks, to repair those that are certain; 0: never."""
    check_apart_s: Seconds = 30.0
    """How far apart two sightings of a leak are at least, before it is repaired, by ipamd or by `romana ipam check --repair`."""


class NodeConfig(_Section):
    """Which node this is."""

    name: str = ""
    """Name of this node in the cluster; empty: the machine's host name."""


class AgentConfig(_Section):
    """The CNI agent."""

    socket: str = "/run/romana/agent.sock"
    state_dir: str = "/var/lib/romana"
    """Holds releases that wait for ipamd, intents of running ADDs, and records of finished attachments."""
    mtu: Annotated[int, Field(ge=0, le=MTU_MAX), AfterValidator(_check_mtu)] = 0
    """MTU of pod interfaces in bytes, 68 or more; 0: that of the interface with the default route or the node's address."""
    ipam_timeout_s: Seconds = 10.0
    """How long one ADD asks ipamd before it answers "try again later"."""
    pod_wait_s: Seconds = 10.0
    """How long an ADD waits for the Pod object that the runtime named."""
    recovery_poll_s: Seconds = 10.0
    """How often to ask ipamd whether the store was restored; a third of ipam.restore_hold_s at most."""
    status_strict: bool = False
    """STATUS to the letter of CNI's specification: it fails for whatever would fail an ADD. A runtime then calls the node
    NotReady, and healthy pods are evicted from it."""
    stale_after_s: Seconds = 60.0
    """An attachment whose interface is gone, without a DEL, is released when it is seen so twice, this far apart."""


class PolicyConfig(_Section):
    """The policy daemon, and who waits for it."""

    socket: str = "/run/romana/policyd.sock"
    """Where policyd answers the agent of its own node."""
    wait_s: Seconds = 10.0
    """How long an ADD waits for policy to be in force before it is undone and answers "try again later"."""
    required: bool = True
    """False: ADD does not wait for policyd at all, for nodes where nothing enforces policy."""
    proceed: bool = False
    """True: an ADD that has waited wait_s in vain goes on. Where policyd's rules stand, the pod is cut off until they know it."""


class RoutedConfig(_Section):
    """The route daemon."""

    table: int = Field(default=254, ge=1, le=2**32 - 1)
    """Routing table to write; 254 is `main` (man 8 ip-route)."""
    resync_s: Seconds = 60.0
    """Compare the kernel with the plan at least this often, beside every event."""


class HealthConfig(_Section):
    """Where each daemon answers /livez, /readyz and /metrics: `ADDRESS:PORT`, `unix:/path`, or `off`. Plain HTTP, for anyone who
    reaches it: loopback unless you want others to read counts and the names of networks and nodes."""

    ipamd: HealthAddress = "127.0.0.1:9601"
    agent: HealthAddress = "127.0.0.1:9604"
    routed: HealthAddress = "127.0.0.1:9605"
    policyd: HealthAddress = "127.0.0.1:9607"


class LogConfig(_Section):
    """Logs go to stderr as JSON, one object a line."""

    level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")


class Config(_Section):
    """Everything that can be set; every key has a default that a single machine can run with."""

    etcd: EtcdConfig = EtcdConfig()
    ipam: IpamConfig = IpamConfig()
    node: NodeConfig = NodeConfig()
    agent: AgentConfig = AgentConfig()
    policy: PolicyConfig = PolicyConfig()
    routed: RoutedConfig = RoutedConfig()
    health: HealthConfig = HealthConfig()
    log: LogConfig = LogConfig()


def load(
    path: Path | None = None, environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> Config:
    """The configuration in force; raises ConfigError with every fault.

    `path` or `ROMANA_CONFIG` must exist when given; the default file may be absent. `overrides` are `{"node.name": ...}`.
    """
    environ = os.environ if environ is None else environ
    named = path or (Path(environ["ROMANA_CONFIG"]) if environ.get("ROMANA_CONFIG") else None)
    merged: dict[str, Any] = {}
    faults: list[Fault] = []
    for file in _files(named or DEFAULT_FILE, must_exist=named is not None):
        _merge(merged, _read(file, faults))
    _merge(merged, _from_environment(environ, faults))
    for dotted, value in (overrides or {}).items():
        section, key = dotted.split(".", 1)
        merged.setdefault(section, {})[key] = value
    return _validated(merged, faults)


def node_name(config: Config) -> str:
    """Name of this node; the machine's name in lower case when none is configured, as the kubelet has it. Raises ConfigError."""
    name = config.node.name or socket.gethostname().lower()
    if not is_node_name(name):
        fault = Fault("node.name", f"is not set, and the machine's name {name!r} is no DNS name (RFC 1123)")
        raise ConfigError("the configuration is wrong:", [fault])
    return name


def read_boot_id() -> str:
    """Identity of this boot of the machine (man 5 proc_sys_kernel, random/boot_id)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _files(main: Path, *, must_exist: bool) -> list[Path]:
    if not main.exists() and not must_exist:
        return sorted((main.parent / "conf.d").glob("*.toml"))
    return [main, *sorted((main.parent / "conf.d").glob("*.toml"))]


def _read(file: Path, faults: list[Fault]) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as err:
        faults.append(Fault(str(file), f"cannot be read: {err.strerror}; name an existing file in ROMANA_CONFIG or --config"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        faults.append(Fault(str(file), f"is not TOML: {err}"))
    return {}


def _merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    for section, values in other.items():
        if isinstance(values, dict) and isinstance(into.get(section, {}), dict):
            into.setdefault(section, {}).update(values)
        else:
            into[section] = values


def _from_environment(environ: Mapping[str, str], faults: list[Fault]) -> dict[str, Any]:
    """`ROMANA_<SECTION>_<KEY>`; variables of other shape (ROMANA_CONFIG) are not ours to judge."""
    found: dict[str, Any] = {}
    keys = {section: model.model_fields for section, model in _sections().items()}
    faults.extend(fault for name in environ if (fault := variable_fault(name, keys)))
    for name, text in environ.items():
        for section, model in _sections().items():
            prefix = f"ROMANA_{section.upper()}_"
            if name.startswith(prefix) and (key := name.removeprefix(prefix).lower()) in model.model_fields:
                found.setdefault(section, {})[key] = _from_text(model, key, text, name, faults)
    return found


def _from_text(model: type[_Section], key: str, text: str, name: str, faults: list[Fault]) -> Any:
    annotation = model.model_fields[key].annotation
    if get_origin(annotation) is list:
        return [part.strip() for part in text.split(",") if part.strip()]
    if annotation is bool:
        if text.lower() not in {"true", "false", "1", "0"}:
            faults.append(Fault(name, f"is {text!r}; must be true or false"))
        return text.lower() in {"true", "1"}
    try:
        return annotation(text) if annotation in {int, float} else text
    except ValueError:
        faults.append(Fault(name, f"is {text!r}; must be a number"))
        return model.model_fields[key].default


def _sections() -> dict[str, type[_Section]]:
    fields = Config.model_fields.items()
    return {name: field.annotation for name, field in fields if isinstance(field.annotation, type)}


def _validated(merged: dict[str, Any], faults: list[Fault]) -> Config:
    config = Config()
    try:
        config = Config.model_validate(merged)
    except ValidationError as err:
        faults.extend(_fault(error) for error in err.errors())
    faults.extend(_listen_faults(merged.get("ipam", {})))
    faults.extend(config.etcd.credentials().faults())
    if config.node.name and not is_node_name(config.node.name):
        faults.append(Fault("node.name", f"is {config.node.name!r}; must be a DNS name in lower case (RFC 1123)"))
    if faults:
        raise ConfigError("the configuration is wrong:", faults)
    return config


def _listen_faults(section: Any) -> tuple[Fault, ...]:
    try:
        ipam = IpamConfig.model_validate(section)
        check_listen(ipam.listen, insecure=ipam.insecure)
    except ValidationError:
        pass  # of the whole section, and told as such
    except ConfigError as err:
        return err.faults
    return ()


def _fault(error: Any) -> Fault:
    path = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = _sections()[error["loc"][0]].model_fields if len(error["loc"]) > 1 else Config.model_fields
        near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
        return Fault(path, f"is not a known key{hint}")
    if error["type"] == "value_error":
        return Fault(path, f"is {error['input']!r}; {error['ctx']['error']}")
    return Fault(path, f"is {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}")
