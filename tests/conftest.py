"""What every test may rely on: `--long`, and a skip that names its reason where the machine lacks what a marker needs."""

import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import settings

# A deadline is a time asserted in a test, and the machine is shared: examples take as long as they take. The same examples each
# time, so that a change is judged by what it changes; `--long` draws new ones.
settings.register_profile("romana", deadline=None, derandomize=True)
settings.register_profile("romana-long", deadline=None)
settings.load_profile("romana")

# Tests start ipamds by the dozen beside each other in the machine's own namespace: none may want the one port of a real one.
# (Labs give their daemons an environment of their own; a test of health names a socket and leaves this out.)
os.environ["ROMANA_HEALTH_IPAMD"] = "off"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long` runs the tests marked `long` as well."""
    parser.addoption("--long", action="store_true", help="run the hammers and repetitions as well")


def pytest_configure(config: pytest.Config) -> None:
    """`--long` draws examples anew; workers of xdist get the option too."""
    if config.getoption("--long"):
        settings.load_profile("romana-long")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out `long` tests unless asked for; skip those that this machine cannot run."""
    if not config.getoption("--long") and "long" not in config.option.markexpr:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
        items[:] = [item for item in items if not item.get_closest_marker("long")]
    for item in items:
        for reason in filter(None, (LACKS[marker.name]() for marker in item.iter_markers() if marker.name in LACKS)):
            item.add_marker(pytest.mark.skip(reason=reason))


@cache
def lacks_etcd() -> str:
    """Why tests marked `etcd` cannot run here; empty when they can."""
    return "" if shutil.which("etcd") else "no etcd on the PATH: ./dev setup installs it"


@cache
def lacks_kernel() -> str:
    """Why tests marked `kernel` cannot run here; empty when they can."""
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    tried = subprocess.run(["unshare", "--net", "--mount", "true"], check=False, capture_output=True, text=True)
    return f"cannot make a network namespace: {tried.stderr.strip()}" if tried.returncode else ""


def lacks_lab() -> str:
    """Why tests marked `e2e` cannot run here; empty when they can."""
    return lacks_kernel() or lacks_etcd()


LACKS: dict[str, Callable[[], str]] = {"etcd": lacks_etcd, "kernel": lacks_kernel, "e2e": lacks_lab}
