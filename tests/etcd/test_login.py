"""User and password, tokens that end, and roles: clear words, and no restart of ours."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from romana.errors import Unavailable
from romana.store.api import Put
from romana.store.credentials import Credentials
from romana.store.etcd import EtcdStore
from tests.etcd.operator import PREFIX, enable_authentication, etcdctl
from tests.etcd.server import EtcdServer
from tests.etcd.truth import LAST, Updates, create, create_all, eventually, names, watch_until_last

pytestmark = [pytest.mark.etcd, pytest.mark.usefixtures("etcd_installed")]

ROOT = ("--user", "root:top")


@pytest.fixture
def etcd(own_etcd: EtcdServer) -> EtcdServer:
    """One with authentication by simple tokens."""
    enable_authentication(own_etcd)
    return own_etcd


@pytest.fixture
def password(tmp_path: Path) -> Path:
    """The file of the right password."""
    file = tmp_path / "password"
    file.write_text("secret\n")
    return file


@pytest.fixture
async def store(etcd: EtcdServer, password: Path) -> AsyncIterator[EtcdStore]:
    """Logs in as romana."""
    made = EtcdStore([etcd.target], PREFIX, credentials=Credentials(user="romana", password_file=str(password)))
    yield made
    await made.close()


async def told(store: EtcdStore) -> str:
    """What is said of a write that fails; it surely was not applied."""
    with pytest.raises(Unavailable) as caught:
        await store.txn([], [Put("a", b"")])
    return str(caught.value)


async def test_everything_works_after_a_log_in(store: EtcdStore) -> None:
    start = (await store.list("")).revision + 1
    lease = await store.grant_lease(5)
    await store.txn([], [Put("leased", b"", lease.id)])
    for key in [*names(0, 3), LAST]:
        await create(store, key)
    assert len(await watch_until_last(store, start)) == 4
    await lease.revoke()
    assert await store.get("leased") is None


async def test_no_user_where_etcd_wants_one_is_told_with_the_keys_to_set(etcd: EtcdServer) -> None:
    store = EtcdStore([etcd.target], timeout_s=1)
    assert "set etcd.user and etcd.password_file" in await told(store)
    await store.close()


async def test_user_where_etcd_wants_none_does_no_harm(own_etcd: EtcdServer, password: Path) -> None:
    store = EtcdStore([own_etcd.target], PREFIX, credentials=Credentials(user="romana", password_file=str(password)))
    await create(store, "before")
    enable_authentication(own_etcd)
    await create(store, "after")  # it logs in once it has to
    await store.close()


async def test_wrong_password_is_told_and_the_right_one_is_taken_without_a_restart(etcd: EtcdServer, password: Path) -> None:
    await asyncio.to_thread(password.write_text, "wrong")
    shown = Credentials(user="romana", password_file=str(password))
    hasty, patient = (EtcdStore([etcd.target], PREFIX, timeout_s, shown) for timeout_s in (1.0, 60.0))
    assert "correct etcd.user, or the password in the file etcd.password_file names" in await told(hasty)
    reading = asyncio.create_task(patient.get("a"))
    await asyncio.sleep(0.5)
    await asyncio.to_thread(password.write_text, "secret")
    assert await reading is None
    await hasty.close()
    await patient.close()


async def test_tokens_that_a_restarted_etcd_has_forgotten_are_renewed_under_calls_and_watch(
    etcd: EtcdServer, store: EtcdStore
) -> None:
    """F9 of the fault table: simple tokens live in the memory of a member."""
    start = (await store.list("")).revision + 1
    watching = asyncio.create_task(watch_until_last(store, start))
    await create_all(store, names(0, 50))
    for first in (50, 100):
        etcd.kill()
        etcd.start()
        await create_all(store, names(first, 50))
    await create(store, LAST)
    assert [event.key for event in await watching] == [*names(0, 150), LAST]


async def test_write_with_a_token_that_has_expired_is_made_once_after_a_new_log_in(etcd: EtcdServer, store: EtcdStore) -> None:
    await create(store, "a")
    etcd.kill()
    etcd.start()
    await store.status()  # connected again
    assert (await store.txn([], [Put("b", b"")])).succeeded
    found = await store.get("b")
    assert found is not None
    assert found.version == 1


async def test_change_of_users_makes_tokens_old_and_they_are_renewed(etcd: EtcdServer, store: EtcdStore) -> None:
    """etcd: "revision of auth store is old"."""
    await create(store, "a")
    for number in range(3):
        etcdctl(etcd, *ROOT, "user", "add", f"somebody-{number}:x")
        assert (await store.txn([], [Put(f"b{number}", b"")])).succeeded


async def test_role_that_is_revoked_is_told_and_works_again_once_granted(etcd: EtcdServer, store: EtcdStore) -> None:
    async with Updates(store) as updates:
        await create(store, "w/before")
        await eventually(lambda: "w/before" in updates.reflector.items)
        etcdctl(etcd, *ROOT, "user", "revoke-role", "romana", "writer")
        assert "grant etcd.user's role" in await told(store)
        etcdctl(etcd, *ROOT, "user", "grant-role", "romana", "writer")
        await create(store, "w/after")
        await eventually(lambda: "w/after" in updates.reflector.items)


async def test_watch_that_is_resumed_without_permission_says_so_and_goes_on_with_it(
    etcd: EtcdServer, store: EtcdStore, caplog: pytest.LogCaptureFixture
) -> None:
    start = (await store.list("")).revision + 1
    watching = asyncio.create_task(watch_until_last(store, start))
    await create(store, "w/00000")
    etcdctl(etcd, *ROOT, "user", "revoke-role", "romana", "writer")
    etcd.kill()
    etcd.start()
    await eventually(lambda: "permission denied" in " ".join(str(vars(record).get("error")) for record in caplog.records))
    etcdctl(etcd, *ROOT, "user", "grant-role", "romana", "writer")
    await create(store, LAST)
    assert [event.key for event in await watching] == ["w/00000", LAST]


async def test_prefix_outside_the_role_is_denied(etcd: EtcdServer, password: Path) -> None:
    shown = Credentials(user="romana", password_file=str(password))
    store = EtcdStore([etcd.target], "/elsewhere/", 1.0, shown)
    assert "permission denied" in await told(store)
    await store.close()


@pytest.fixture
def jwt_etcd(etcd_installed: None, tmp_path: Path) -> Iterator[EtcdServer]:
    """One whose tokens are JWTs that end after two seconds."""
    key, public = tmp_path / "jwt.pem", tmp_path / "jwt-public.pem"
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    subprocess.run(["openssl", "rsa", "-in", key, "-pubout", "-out", public], check=True, capture_output=True)
    with EtcdServer(f"--auth-token=jwt,pub-key={public},priv-key={key},sign-method=RS256,ttl=2s") as made:
        enable_authentication(made)
        yield made


async def test_jwt_that_expires_is_renewed_under_calls_watch_and_lease(jwt_etcd: EtcdServer, password: Path) -> None:
    shown = Credentials(user="romana", password_file=str(password))
    store = EtcdStore([jwt_etcd.target], PREFIX, credentials=shown)
    lease = await store.grant_lease(3)
    start = (await store.list("")).revision + 1
    watching = asyncio.create_task(watch_until_last(store, start))
    for number in range(4):
        await asyncio.sleep(1.2)
        await create(store, f"w/{number}")
    await create(store, LAST)
    assert [event.key for event in await watching] == [*(f"w/{number}" for number in range(4)), LAST]
    assert not lease.lost
    async with aclosing(store.watch("w/", start)) as again:  # a new stream needs a token that holds
        assert (await anext(again)).events[0].key == "w/0"
    await store.close()
