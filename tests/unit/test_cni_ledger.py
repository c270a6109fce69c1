"""What ipamd granted is known to the agent's next process, and to one of a later version."""

from pathlib import Path

from cni.agent_files import AttachmentFiles
from cni.agent_journal import Journal
from cni.agent_ledger import Grant, GrantedAddress, Ledger
from cni.agent_memory import Memory
from cni.request import AttachmentId, PodId

ONE, TWO = (AttachmentId("romana", name, "eth0") for name in ("c1", "c2"))
GRANT = Grant(PodId("shop", "web-0", "u-1"), (GrantedAddress("pods", "10.40.0.1", "10.40.0.0/28"),))
ANONYMOUS = Grant(None, (GrantedAddress("pods", "10.40.0.2", "10.40.0.0/28"),))


def opened(folder: Path) -> Ledger:
    """As the agent's next process has it."""
    return Ledger(folder, Journal(folder))


def test_grants_outlive_the_process_until_they_are_released(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    ledger.granted(ONE, GRANT)
    ledger.granted(TWO, ANONYMOUS)
    assert opened(tmp_path).grants() == {ONE: GRANT, TWO: ANONYMOUS}
    memory = Memory(Journal(tmp_path))
    memory.released(ONE)
    memory.released(ONE)
    assert opened(tmp_path).grants() == {TWO: ANONYMOUS}


def test_files_of_an_earlier_version_are_taken_over(tmp_path: Path) -> None:
    files = AttachmentFiles(tmp_path / "granted")
    files.write(ONE, GRANT.document())
    files.write(TWO, ANONYMOUS.document())
    (tmp_path / "granted" / "torn.json").write_text("{")
    assert opened(tmp_path).grants() == {ONE: GRANT, TWO: ANONYMOUS}
    assert not (tmp_path / "granted").exists()
    assert opened(tmp_path).grants() == {ONE: GRANT, TWO: ANONYMOUS}


def test_grant_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    Journal(tmp_path).append("grant", ONE, {"pod": 5})
    assert opened(tmp_path).grants() == {}
