"""What an operator does to an etcd: etcdctl, by its own program."""

import subprocess

from tests.etcd.server import EtcdServer

__all__ = ["etcdctl"]


def etcdctl(server: EtcdServer, *arguments: str) -> str:
    """Run it and give what it printed."""
    command = ["etcdctl", "--endpoints", server.url, *arguments]
    environ = {"ETCDCTL_API": "3", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    return subprocess.run(command, check=True, capture_output=True, cwd=server.directory, env=environ, text=True).stdout
