"""podman with its CNI back end; its host is a node of the lab."""

import json
import shutil
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Done, Lab, run
from tests.e2e.runtimes.image import write_archive

__all__ = ["IMAGE", "Podman"]

IMAGE = "localhost/romana-test:1"
CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_backend = "cni"
cni_plugin_dirs = ["{bin}"]
network_config_dir = "{conf}"
default_network = "romana"
"""
STORAGE_CONF = """
[storage]
driver = "vfs"
graphroot = "{folder}/graph"
runroot = "{folder}/run"
"""


class Podman:
    """One host. All that it keeps is below `folder`."""

    def __init__(self, lab: Lab, node: str, folder: Path) -> None:
        self.lab, self.node, self._folder = lab, lab.node(node), folder
        conf = folder / "net.d"
        conf.mkdir()
        self.conflist = Path(shutil.copy(self.node["conflist"], conf))  # podman keeps a lock file beside it
        (folder / "containers.conf").write_text(CONTAINERS_CONF.format(bin=self.node["cni_bin_dir"], conf=conf))
        (folder / "storage.conf").write_text(STORAGE_CONF.format(folder=folder))
        write_archive(folder / "image.tar", IMAGE)
        self("load", "--input", str(folder / "image.tar"))

    def __call__(self, *arguments: str, fails: bool = False) -> Done:
        """`podman ...` in the node's network namespace; `ip netns exec` would hide the cgroups."""
        environ = {
            "CONTAINERS_CONF": str(self._folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self._folder / "storage.conf"),
        }
        done = run(["nsenter", f"--net={self.node['netns']}", "--", "podman", *arguments], environ=environ)
        assert (done.code != 0) == fails, done
        return done

    def start(self, name: str) -> str:
        """A container that sleeps; its address."""
        self("run", "--detach", "--name", name, IMAGE)
        return str(self.network(name)["IPAddress"])

    def network(self, name: str) -> dict[str, Any]:
        """What podman has understood of our result."""
        (found,) = json.loads(self("inspect", name).out)
        return dict(found["NetworkSettings"]["Networks"]["romana"])

    def remove(self, *names: str) -> None:
        """Stop and remove."""
        self("rm", "--force", "--time", "0", *names)
