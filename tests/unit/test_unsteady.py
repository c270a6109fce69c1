"""Whether a failed test is broken or unsteady, judged on small test files."""

import json
from pathlib import Path

import pytest

from tests import unsteady

BROKEN = "def test_it() -> None:\n    assert False\n"
STEADY = "def test_it() -> None:\n    pass\n"
EVERY_SECOND_TIME = """
from pathlib import Path

def test_it() -> None:
    runs = Path(__file__).with_suffix(".runs")
    runs.write_text((runs.read_text() if runs.exists() else "") + "x")
    assert len(runs.read_text()) % 2
"""


def cache_of(directory: Path, *tests: str) -> str:
    """What pytest leaves behind when those files' tests failed."""
    failed = {}
    for number, text in enumerate(tests):
        (directory / f"test_{number}.py").write_text(text)
        failed[f"{directory}/test_{number}.py::test_it"] = True
    (directory / "v/cache").mkdir(parents=True)
    (directory / "v/cache/lastfailed").write_text(json.dumps(failed))
    return str(directory)


@pytest.mark.parametrize(
    ("tests", "code"),
    [
        ([STEADY], 0),
        ([BROKEN], 1),
        ([EVERY_SECOND_TIME], 1),
        ([STEADY, BROKEN], 1),
        ([STEADY] * (unsteady.TOLERATED + 1), 1),
        ([], 1),  # the run failed for another reason
    ],
    ids=["passes alone", "fails alone", "fails now and then", "one of two fails", "too many", "none"],
)
def test_a_failed_run_ends_well_only_if_the_few_that_failed_pass_alone_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tests: list[str], code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    assert unsteady.main([cache_of(tmp_path, *tests)]) == code
