"""The hammer finds nothing in ipamd, whatever is killed and frozen; and its checker finds what is broken in a real etcd."""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from romana.bench.hammer.finding import Finding
from romana.store.etcd import EtcdStore
from tests.etcd.server import EtcdServer
from tests.hammered import attachment, block, followed, give

pytestmark = pytest.mark.etcd

BENCH = Path(__file__).resolve().parents[2] / "bench" / "ipam_hammer.py"
ENDS_S = 1500  # of the hammer itself, which tells what does not end; it takes half a minute


def hammer(*options: str, timeout_s: int = ENDS_S) -> dict[str, Any]:
    """Its report; fails with all that it said when it found something."""
    command = [sys.executable, str(BENCH), "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-8000:]}\n{done.stderr[-8000:]}"
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.timeout(ENDS_S + 60)
@pytest.mark.parametrize("seed", [7, pytest.param(None, id="drawn")])
def test_a_short_hammer_finds_nothing(etcd_installed: None, seed: int | None) -> None:
    """S9, S20. The seed is in the report, and in what this prints when it fails."""
    drawn = secrets.randbelow(2**31) if seed is None else seed
    report = hammer("--seed", str(drawn), "--operations", "3000", "--seconds", "8", "--clients", "16")
    figures = report["figures"]
    assert report["seed"] == drawn
    assert report["violations"] == []
    assert figures["operations"] > 0
    assert figures["revisions_judged"] > 0
    assert figures["whole_checks"] > 0


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_ten_minutes_of_hammering_find_nothing(etcd_installed: None) -> None:
    report = hammer("--seconds", "600", "--clients", "48", timeout_s=2300)
    assert report["violations"] == []
    assert sum(report["figures"]["blows"].values()) > 0


async def _found(server: EtcdServer, broken: Any) -> list[Finding]:
    store = EtcdStore([server.target], f"/hammered-{os.getpid()}-{secrets.token_hex(4)}/")
    try:
        async with followed(store) as it:
            await it.write(*give(attachment("n1", "one", "10.40.0.1")))
            assert it.findings == []
            revision = await it.write(*broken)
            return [finding for finding in it.findings if finding.revision == revision]
    finally:
        await store.close()


async def test_two_attachments_at_one_address_are_found_in_a_real_etcd(shared_etcd: EtcdServer) -> None:
    findings = await _found(shared_etcd, give(attachment("n1", "other", "10.40.0.1")))
    assert {finding.invariant for finding in findings} == {"I1"}
    assert any("attachments/n1/it/one/eth0" in finding.keys for finding in findings)


async def test_a_block_that_two_nodes_own_is_found_in_a_real_etcd(shared_etcd: EtcdServer) -> None:
    findings = await _found(shared_etcd, [block("10.40.0.0/29", "n2")])
    assert "I4" in {finding.invariant for finding in findings}
    assert any("blocks/pods/10.40.0.0_29" in finding.keys for finding in findings)
