"""A small client of CRI, as kubelet is one; its messages are compiled from cri.proto when it is first used."""

import subprocess
import sys
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["CALL_TIMEOUT_S", "Cri"]

CALL_TIMEOUT_S = 60.0


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    source = Path(str(resources.files("tests.e2e.runtimes"))) / "cri.proto"
    with tempfile.TemporaryDirectory(prefix="cri-") as folder:
        target = Path(folder) / "cri.descriptor"
        options = [f"-I{source.parent}", f"--descriptor_set_out={target}", source.name]
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *options], check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return pool


def message(kind: str, /, **fields: Any) -> Any:
    """A message of CRI."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"runtime.v1.{kind}"))(**fields)


class Cri:
    """One runtime's CRI socket."""

    def __init__(self, socket: Path) -> None:
        self._channel = grpc.insecure_channel(f"unix:{socket}")

    def call(self, method: str, /, **fields: Any) -> Any:
        """One unary call; raises grpc.RpcError."""
        answer = message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"runtime.v1.{method}Response"))
        request = message(f"{method}Request", **fields)
        path = f"/runtime.v1.RuntimeService/{method}"
        unary = self._channel.unary_unary(path, type(request).SerializeToString, answer.FromString)
        return unary(request, timeout=CALL_TIMEOUT_S)

    def close(self) -> None:
        """Give the connection back."""
        self._channel.close()
