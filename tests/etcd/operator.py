"""What an operator does to an etcd: etcdctl, by its own program."""

import subprocess

from tests.etcd.server import EtcdServer

__all__ = ["PREFIX", "enable_authentication", "etcdctl"]

PREFIX = "/romana/v1/"


def etcdctl(server: EtcdServer, *arguments: str) -> str:
    """Run it and give what it printed."""
    command = ["etcdctl", "--endpoints", server.url, *arguments]
    environ = {"ETCDCTL_API": "3", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    return subprocess.run(command, check=True, capture_output=True, cwd=server.directory, env=environ, text=True).stdout


def enable_authentication(server: EtcdServer) -> None:
    """Users root and romana; romana's role `writer` may do everything below our prefix."""
    for command in (
        "user add root:top",
        "user grant-role root root",
        "user add romana:secret",
        "role add writer",
        f"role grant-permission writer --prefix=true readwrite {PREFIX}",
        "user grant-role romana writer",
        "auth enable",
    ):
        etcdctl(server, *command.split())
