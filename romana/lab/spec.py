"""What a lab consists of: names, addresses, paths, and the processes to run. Pure.

The fabric is one segment, 192.0.2.0/24 (TEST-NET-1, RFC 5737): the ToR router has .1, the control namespace .2, nodes .11 on.
Labs do not see one another, so all of them use it. Where the topology has IPv6, so has the fabric (romana/lab/ipv6.py).
"""

import json
import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path
from typing import Any

from romana.errors import Fault, InvalidInput, UsageError
from romana.lab.ipv6 import beside
from romana.lab.members import Member, members
from romana.names import is_node_name

__all__ = ["CONTROL", "DEFAULT_TOPOLOGY", "FABRIC", "FABRIC_NET", "LabSpec", "NodeSpec", "ProcessSpec", "check_name", "from_json"]

RUN_ROOT = Path("/run/romana-lab")
STATE_ROOT = Path("/var/lib/romana-lab")

FABRIC_NET = IPv4Network("192.0.2.0/24")
FABRIC = "tor"
CONTROL = "ctl"
POD_PREFIX = "pod-"
NODE_DAEMONS = ("agent", "routed", "policyd")
REFUSED = "refused.json"
"""File of a lab: the nodes that the topology has no group for, name -> reason."""
FIRST_NODE = 11
NODES_MAX = 200  # leaves the end of the /24 for whoever wants to add something by hand
LAB_NAME_MAX = 20  # a unix socket's path has at most 107 bytes, unix(7); ours stay under 80

DEFAULT_TOPOLOGY: dict[str, Any] = {
    "networks": [{"name": "pods", "cidr": "10.40.0.0/16", "block_mask": 28}],
    "topologies": [{"networks": ["pods"], "map": [{"name": "everyone", "groups": []}]}],
}

_LAB_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """A node of the lab."""

    name: str
    address: IPv4Address
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process that the supervisor keeps running."""

    id: str
    """`etcd`, `etcd-2`, `ipamd`, `agent@node-1`."""
    netns: str
    command: tuple[str, ...]
    config: str
    """Path of its configuration (ROMANA_CONFIG)."""
    cwd: str
    stale_socket: str = ""
    """A socket that it makes and does not replace: one left by a killed process must go before the next start."""


@dataclass(frozen=True, slots=True)
class LabSpec:
    """A whole lab; everything else follows from it."""

    name: str
    nodes: tuple[NodeSpec, ...]
    programs: str
    """Folder of the romana-* programs."""
    etcd: str
    """Path of the etcd program."""
    etcd_members: int = 1
    ipv6: bool = False
    """Whether nodes and fabric have addresses of IPv6 as well."""

    def addresses(self, node: NodeSpec) -> tuple[IPv4Address | IPv6Address, ...]:
        """A node's addresses, that of IPv4 first."""
        return (node.address, beside(node.address)) if self.ipv6 else (node.address,)

    @property
    def run(self) -> Path:
        """Sockets, configurations, logs, records of pods."""
        return RUN_ROOT / self.name

    @property
    def state(self) -> Path:
        """What may be large: etcd's data."""
        return STATE_ROOT / self.name

    @property
    def members(self) -> tuple[Member, ...]:
        """The members of etcd."""
        return members(self.etcd_members, self.run, self.state)

    @property
    def etcd_endpoints(self) -> tuple[str, ...]:
        """gRPC targets of etcd's members."""
        return tuple(member.endpoint for member in self.members)

    @property
    def ipam_endpoint(self) -> str:
        """gRPC target of ipamd."""
        return f"unix:{self.run}/ipamd.sock"

    @property
    def config(self) -> Path:
        """Configuration for the command line."""
        return self.run / "config.toml"

    def netns(self, thing: str) -> str:
        """Name of a namespace of this lab."""
        return f"{self.name}-{thing}"

    def pod_netns(self, namespace: str, pod: str) -> str:
        """Name of a pod's namespace; unambiguous, as the name of a Kubernetes namespace holds no dot (RFC 1123 label)."""
        return self.netns(f"{POD_PREFIX}{namespace}.{pod}")

    def fixed_netns(self) -> tuple[str, ...]:
        """Names of all namespaces but the pods'."""
        return tuple(self.netns(thing) for thing in (*(node.name for node in self.nodes), CONTROL, FABRIC))

    def node_run(self, node: str) -> Path:
        """A node's own folder: what would be /run, /etc and /opt on a machine."""
        return self.run / "nodes" / node

    def agent_socket(self, node: str) -> Path:
        """Where a node's agent listens."""
        return self.node_run(node) / "agent.sock"

    def cni_bin_dir(self, node: str) -> Path:
        """A node's CNI programs."""
        return self.node_run(node) / "bin"

    def cni_conf_dir(self, node: str) -> Path:
        """A node's CNI configurations."""
        return self.node_run(node) / "net.d"

    def node(self, name: str) -> NodeSpec:
        """The node of that name; raises InvalidInput naming those there are."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise InvalidInput(f"lab {self.name} has no node {name!r}; it has {', '.join(node.name for node in self.nodes)}")

    def processes(self) -> tuple[ProcessSpec, ...]:
        """All processes, in the order of their start."""
        control = self.netns(CONTROL)
        found = [self._member(control, member) for member in self.members]
        ipamd = (f"{self.programs}/romana-ipamd",)
        found.append(ProcessSpec("ipamd", control, ipamd, str(self.run / "ipamd.toml"), str(self.run)))
        for node in self.nodes:
            own = self.node_run(node.name)
            for daemon in NODE_DAEMONS:
                command = (f"{self.programs}/romana-{daemon}",)
                spec = ProcessSpec(f"{daemon}@{node.name}", self.netns(node.name), command, str(own / "config.toml"), str(own))
                found.append(spec)
        return tuple(found)

    def _member(self, netns: str, member: Member) -> ProcessSpec:
        command = member.command(self.etcd, str(FABRIC_NET[2]), self.members)
        return ProcessSpec(member.id, netns, command, "", str(member.folder), member.socket)

    def configs(self) -> dict[Path, str]:
        """The configuration files, path -> TOML text."""
        etcd = f"[etcd]\nendpoints = {json.dumps(self.etcd_endpoints)}\n"  # TOML writes a list of plain strings as JSON does
        clients = f'{etcd}[ipam]\nendpoints = ["{self.ipam_endpoint}"]\n'
        listen = f'["127.0.0.1:9600", "{FABRIC_NET[2]}:9600", "{self.ipam_endpoint}"]'
        files = {
            self.config: clients,
            # Nobody but this lab's own namespaces reaches that address, hence insecure.
            self.run / "ipamd.toml": f"{etcd}[ipam]\nlisten = {listen}\ninsecure = true\n",
        }
        for node in self.nodes:
            own = self.node_run(node.name)
            agent = f'[agent]\nsocket = "{self.agent_socket(node.name)}"\nstate_dir = "{own}/state"\n'
            policy = f'[policy]\nsocket = "{own}/policyd.sock"\n'
            files[own / "config.toml"] = f'{clients}[node]\nname = "{node.name}"\n{agent}{policy}'
        return files

    def to_json(self) -> dict[str, Any]:
        """As a value for JSON; `from_json` reads it."""
        nodes = [{"name": node.name, "address": str(node.address), "labels": node.labels} for node in self.nodes]
        programs = {"programs": self.programs, "etcd": self.etcd, "etcd_members": self.etcd_members}
        return {"name": self.name, "nodes": nodes, **programs, "ipv6": self.ipv6}


def from_json(value: dict[str, Any]) -> LabSpec:
    """A lab as `to_json` wrote it."""
    nodes = tuple(NodeSpec(node["name"], IPv4Address(node["address"]), node["labels"]) for node in value["nodes"])
    programs = (value["programs"], value["etcd"], value.get("etcd_members", 1))
    return LabSpec(value["name"], nodes, *programs, ipv6=value.get("ipv6", False))


def check_name(name: str) -> str:
    """The lab's name when it can be one; raises UsageError."""
    if len(name) > LAB_NAME_MAX or not _LAB_NAME.fullmatch(name):
        rule = f"lower-case letters, digits and '-', at most {LAB_NAME_MAX} characters"
        raise UsageError(f"--name {name!r} cannot name a lab: it takes {rule}")
    return name


def make_nodes(
    wanted: list[tuple[str, dict[str, str]]], fixed: dict[str, IPv4Address], *, by_argument: bool = True
) -> tuple[NodeSpec, ...]:
    """Nodes with addresses: those that the topology fixes (`fixed`), else the next ones from .11 on.

    Raises InvalidInput, UsageError when only arguments (`by_argument`) are at fault."""
    names = [name for name, _ in wanted]
    outside = {name: ip for name, ip in fixed.items() if name in names and ip not in FABRIC_NET}
    rule = f"a lab's nodes are in {FABRIC_NET}"
    unfit = [Fault("--topology", f"gives {name} the address {ip}; {rule}") for name, ip in outside.items()]
    if faults := unfit + _name_faults(names, "--node" if by_argument else "--topology"):
        error = UsageError if by_argument and not unfit else InvalidInput
        raise error("the lab cannot have these nodes:", faults)
    usable = range(FIRST_NODE, FABRIC_NET.num_addresses - 1)
    free = (FABRIC_NET[number] for number in usable if FABRIC_NET[number] not in fixed.values())
    return tuple(NodeSpec(name, fixed.get(name) or next(free), labels) for name, labels in wanted)


def _name_faults(names: list[str], source: str) -> list[Fault]:
    taken = (FABRIC, CONTROL)
    bad = [name for name in names if not is_node_name(name) or name in taken or name.startswith(POD_PREFIX)]
    rule = f"it takes a DNS name in lower case that is not {FABRIC} or {CONTROL} and does not begin with {POD_PREFIX}"
    faults = [Fault(source, f"{name!r} cannot name a node: {rule}") for name in bad]
    twice = sorted({name for name in names if names.count(name) > 1})
    faults += [Fault(source, f"{name!r} stands there twice") for name in twice]
    if not 0 < len(names) <= NODES_MAX:
        faults.append(Fault(source, f"asks for {len(names)} nodes; must be 1 to {NODES_MAX}"))
    return faults
