"""containerd, driven through CRI; its host is a node of the lab. It kills and removes what it started, by pid."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import grpc

from tests.e2e.conftest import Lab, run
from tests.e2e.runtimes.cri import Cri, message
from tests.e2e.runtimes.image import write_archive

__all__ = ["Containerd"]

IMAGE = "localhost/romana-pause:1"
LOOPBACK = Path("/usr/lib/cni/loopback")  # Debian's containernetworking-plugins; containerd 1.6 executes it for every sandbox
WAIT_S = 60.0
CONFIG = """
version = 2
root = "{folder}/root"
state = "{folder}/state"
oom_score = 0
[grpc]
  address = "{folder}/c.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{folder}/bin"
    conf_dir = "{folder}/net.d"
"""


class Containerd:
    """One host. All that it keeps is below `folder`, whose path must be short (sockets)."""

    def __init__(self, lab: Lab, node: str, folder: Path) -> None:
        self.node, self._folder = lab.node(node), folder
        (folder / "bin").mkdir()
        (folder / "net.d").mkdir()
        for program in (self.node["cni_bin"], f"{self.node['cni_bin']}.socket", LOOPBACK):
            shutil.copy(program, folder / "bin")
        self.conflist = Path(shutil.copy(self.node["conflist"], folder / "net.d"))
        (folder / "config.toml").write_text(CONFIG.format(folder=folder, image=IMAGE))
        write_archive(folder / "image.tar", IMAGE)
        self.start()
        self._ctr("images", "import", str(folder / "image.tar"))

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        command = ["nsenter", f"--net={self.node['netns']}", "--", "containerd", "--config", str(self._folder / "config.toml")]
        with (self._folder / "log").open("ab") as log:
            self._daemon = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.cri = Cri(self._folder / "c.sock")
        deadline = time.monotonic() + WAIT_S
        while not self._answers():
            words = (self._folder / "log").read_text()[-2000:]
            assert self._daemon.poll() is None, words
            assert time.monotonic() < deadline, words
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            self.cri.call("Status")
        except grpc.RpcError:
            return False
        return True

    def kill(self) -> None:
        """kill -9; the sandboxes' shims live on."""
        self.cri.close()
        self._daemon.send_signal(signal.SIGKILL)
        self._daemon.wait()

    def network_ready(self) -> bool:
        """What kubelet makes the node's Ready condition of."""
        (found,) = [each for each in self.cri.call("Status").status.conditions if each.type == "NetworkReady"]
        return bool(found.status)

    def run(self, namespace: str, name: str, uid: str, attempt: int = 0) -> str:
        """RunPodSandbox; the sandbox's id."""
        metadata = message("PodSandboxMetadata", name=name, namespace=namespace, uid=uid, attempt=attempt)
        config = message("PodSandboxConfig", metadata=metadata, hostname=name, log_directory=str(self._folder / "logs"))
        return str(self.cri.call("RunPodSandbox", config=config).pod_sandbox_id)

    def address(self, sandbox: str) -> str:
        """The address that containerd has understood of our result."""
        return str(self.status(sandbox).status.network.ip)

    def status(self, sandbox: str) -> Any:
        """PodSandboxStatus with containerd's own information."""
        return self.cri.call("PodSandboxStatus", pod_sandbox_id=sandbox, verbose=True)

    def remove(self, sandbox: str) -> None:
        """StopPodSandbox, again, and RemovePodSandbox, as kubelet does: three DELs."""
        self.cri.call("StopPodSandbox", pod_sandbox_id=sandbox)
        self.cri.call("StopPodSandbox", pod_sandbox_id=sandbox)
        self.cri.call("RemovePodSandbox", pod_sandbox_id=sandbox)

    def close(self) -> None:
        """End the daemon and every shim that a failed test left."""
        self.kill()
        for pid in self._shims():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if str(self._folder) in line]
        for mount in reversed(mounts):
            run(["umount", "--lazy", mount])

    def _shims(self) -> list[int]:
        """Processes whose command line or root names our folder: nobody else's."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if f"{self._folder}/c.sock".encode() in path.read_bytes():
                    found.append(int(path.parent.name))
        return found

    def _ctr(self, *arguments: str) -> None:
        done = run(["ctr", "--address", str(self._folder / "c.sock"), "--namespace", "k8s.io", *arguments])
        assert done.code == 0, done.err
