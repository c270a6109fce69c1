"""Stores to hold to the contract: in memory, and on a real etcd shared by the session, each test below a prefix of its own."""

import itertools
import os
import shutil
from collections.abc import AsyncIterator, Iterator

import pytest

from romana.store.api import Store
from romana.store.etcd import EtcdStore
from romana.store.memory import MemoryStore
from tests.etcd.leftovers import sweep
from tests.etcd.server import EtcdServer

_numbers = itertools.count()


@pytest.fixture(scope="session")
def etcd_installed() -> None:
    """Skips without etcd; and clears away what earlier runs left that were killed."""
    if shutil.which("etcd") is None:
        pytest.skip("etcd is not installed: apt-get install etcd-server")
    sweep()


@pytest.fixture(scope="session")
def shared_etcd(etcd_installed: None) -> Iterator[EtcdServer]:
    """One etcd for all plain tests of a worker; nobody kills it. (Tests that compact do: their own watches only start later.)"""
    with EtcdServer() as server:
        yield server


@pytest.fixture
def own_etcd(etcd_installed: None) -> Iterator[EtcdServer]:
    """An etcd that the test may kill."""
    with EtcdServer() as server:
        yield server


@pytest.fixture
async def etcd_store(own_etcd: EtcdServer) -> AsyncIterator[EtcdStore]:
    """A store on `own_etcd`."""
    store = EtcdStore([own_etcd.target])
    yield store
    await store.close()


@pytest.fixture(params=["memory", pytest.param("etcd", marks=pytest.mark.etcd)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """Each implementation in turn, empty."""
    made: Store
    if request.param == "memory":
        made = MemoryStore()
    else:
        server = request.getfixturevalue("shared_etcd")
        made = EtcdStore([server.target], f"/test-{os.getpid()}-{next(_numbers)}/")
    yield made
    await made.close()
