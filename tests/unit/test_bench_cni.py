"""Calls of plugins as a benchmark makes them: whole processes, and an error is never a sample."""

from pathlib import Path

import pytest

from romana.bench.cni_calls import Plugin, Target, burst, cpu_ms, resident_mib
from romana.errors import FatalError

CONF = {"cniVersion": "1.0.0", "name": "n", "type": "t"}


def plugin(tmp_path: Path, script: str) -> Plugin:
    binary = tmp_path / "plugin"
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(0o755)
    return Plugin("ours", binary, CONF, str(tmp_path))


def targets(count: int) -> list[Target]:
    return [Target.of(Path(f"/run/netns/p{number}"), "K=V") for number in range(count)]


def test_every_call_of_a_burst_is_a_process_with_its_own_environment_and_the_configuration(tmp_path: Path) -> None:
    script = (
        f'cat >"{tmp_path}/$CNI_CONTAINERID.conf"; echo "$CNI_COMMAND $CNI_NETNS $CNI_ARGS" >"{tmp_path}/$CNI_CONTAINERID.env"'
    )
    called = targets(5)
    took = burst(plugin(tmp_path, script), "ADD", called)
    assert len(took.each_ms) == 5
    assert 0 < max(took.each_ms) <= took.total_ms
    assert took.cpu_ms > 0
    for target in called:
        assert (tmp_path / f"{target.container_id}.env").read_text() == f"ADD {target.netns} K=V\n"
        assert '"type": "t"' in (tmp_path / f"{target.container_id}.conf").read_text()


def test_call_that_fails_ends_the_benchmark_with_the_plugins_words(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match="ours DEL: no way"):
        burst(plugin(tmp_path, "echo no way; exit 1"), "DEL", targets(2))


def test_a_process_tells_its_cpu_and_memory() -> None:
    assert cpu_ms(1) >= 0
    assert resident_mib(1) > 0
    with pytest.raises(FileNotFoundError):
        cpu_ms(2**22 + 1)
