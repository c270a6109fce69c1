"""Tells a broken test from an unsteady one: what failed beside the others is run again alone, three times.

    python -m tests.unsteady CACHE_DIR

CACHE_DIR is the pytest cache of a run that failed (it keeps the ids of what failed in `v/cache/lastfailed`). A test that fails
once more is broken. One that passes every time is unsteady: its failure stands in the run's output, it is named again in the last
lines, and it is a bug to be mended, in itself or in what it tests, like any other. Because one such test among thousands, on a
machine that anything may hold up, should not hide what the others say, a run with at most `TOLERATED` of them ends well.

Exit codes: 0 nothing is broken and few are unsteady; 1 otherwise.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

REPETITIONS = 3
TOLERATED = 2


def failed_ids(cache: Path) -> list[str]:
    """The ids of the tests that failed, or whose module could not be read."""
    return sorted(json.loads((cache / "v/cache/lastfailed").read_text()))


def passes(test: str, times: int = REPETITIONS) -> bool:
    """Whether a test passes that many times, each alone in a process of its own."""
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", test]
    return all(subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode == 0 for _ in range(times))


def main(arguments: Sequence[str]) -> int:
    """The command."""
    tests = failed_ids(Path(arguments[0]))
    if len(tests) > TOLERATED:
        print(f"unsteady: {len(tests)} tests failed; more than {TOLERATED} are not tried again")
        return 1
    for test in tests:
        print(f"unsteady: {test} failed beside others; now alone, {REPETITIONS} times", flush=True)
        if not passes(test):
            print(f"unsteady: {test} is BROKEN: it fails alone too")
            return 1
    for test in tests:
        print(f"unsteady: {test} is UNSTEADY: it failed beside others and passed {REPETITIONS} times alone; mend it")
    return 0 if tests else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
