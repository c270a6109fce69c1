"""TLS to etcd, with client certificates: what is wrong is said with its configuration key, and mended files are used at once."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from romana.errors import ConfigError, Unavailable
from romana.store.credentials import Credentials
from romana.store.etcd import EtcdStore
from tests.etcd.certificates import Authority, Pair
from tests.etcd.server import EtcdServer
from tests.etcd.truth import LAST, create, names, watch_until_last

pytestmark = [pytest.mark.etcd, pytest.mark.usefixtures("etcd_installed")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where certificates lie."""
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    """Whom client and server trust."""
    return Authority(folder)


@pytest.fixture
def etcd(etcd_installed: None, authority: Authority) -> Iterator[EtcdServer]:
    """An etcd that asks for client certificates."""
    server = authority.sign("server")
    files = [f"--cert-file={server.cert}", f"--key-file={server.key}", f"--trusted-ca-file={authority.cert}"]
    with EtcdServer(*files, "--client-cert-auth", tls=True) as made:
        yield made


def credentials(authority: Authority, pair: Pair | None) -> Credentials:
    return Credentials(str(authority.cert), str(pair.cert) if pair else "", str(pair.key) if pair else "")


async def refused(server: EtcdServer, shown: Credentials) -> str:
    """What is said of a read that cannot be made."""
    store = EtcdStore([server.target], timeout_s=4, credentials=shown)
    with pytest.raises(Unavailable) as caught:
        await store.get("a")
    await store.close()
    return str(caught.value)


async def test_reads_writes_and_watches_go_over_tls(etcd: EtcdServer, authority: Authority) -> None:
    store = EtcdStore([etcd.target], credentials=credentials(authority, authority.sign("client")))
    start = (await store.list("")).revision + 1
    for key in [*names(0, 5), LAST]:
        await create(store, key)
    assert len(await watch_until_last(store, start)) == 6
    await store.close()


async def test_authority_that_did_not_sign_etcds_certificate(etcd: EtcdServer, authority: Authority, folder: Path) -> None:
    stranger = Authority(folder, "stranger")
    shown = replace(credentials(authority, authority.sign("client")), ca=str(stranger.cert))
    assert "etcd.ca" in await refused(etcd, shown)


async def test_name_that_etcds_certificate_does_not_have(etcd: EtcdServer, authority: Authority) -> None:
    shown = replace(credentials(authority, authority.sign("client")), server_name="etcd.example")
    assert "etcd.server_name" in await refused(etcd, shown)


async def test_server_name_finds_the_certificate_of_another_name(etcd_installed: None, authority: Authority) -> None:
    server = authority.sign("elsewhere", san="etcd.example")
    with EtcdServer(f"--cert-file={server.cert}", f"--key-file={server.key}", tls=True) as etcd:
        assert "etcd.server_name" in await refused(etcd, credentials(authority, None))
        store = EtcdStore([etcd.target], credentials=replace(credentials(authority, None), server_name="etcd.example"))
        await create(store, "a")
        await store.close()


@pytest.mark.parametrize("kind", ["none", "expired", "foreign"])
async def test_client_certificate_that_etcd_does_not_take(
    etcd: EtcdServer, authority: Authority, folder: Path, kind: str
) -> None:
    shown: Pair | None = None
    if kind == "expired":
        shown = authority.sign("late", days=-1)
    elif kind == "foreign":
        shown = Authority(folder, "foreign").sign("client")
    told = await refused(etcd, credentials(authority, shown))
    assert "etcd.cert" in told, told


async def test_certificate_that_is_replaced_is_used_without_a_restart(
    etcd: EtcdServer, authority: Authority, folder: Path
) -> None:
    good, used = authority.sign("good"), Pair(folder / "used.pem", folder / "used-key.pem")
    expired = authority.sign("old", days=-1)
    shutil.copy(expired.cert, used.cert)
    shutil.copy(expired.key, used.key)
    store = EtcdStore([etcd.target], timeout_s=60, credentials=credentials(authority, used))
    reading = asyncio.create_task(store.get("a"))
    await asyncio.sleep(0.5)
    assert not reading.done()
    shutil.copy(good.key, used.key)  # for a moment they do not match
    await asyncio.sleep(0.2)
    shutil.copy(good.cert, used.cert)
    assert await reading is None
    await store.close()


async def test_plain_etcd_behind_a_configuration_with_tls(own_etcd: EtcdServer, authority: Authority) -> None:
    assert "etcd.ca" in await refused(own_etcd, credentials(authority, None))


async def test_tls_etcd_behind_a_configuration_without(etcd: EtcdServer) -> None:
    assert "etcd.ca" in await refused(etcd, Credentials())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (Credentials(ca="/nowhere/ca.pem"), "etcd.ca: is '/nowhere/ca.pem', which cannot be read: No such file"),
        (Credentials(cert="/dev/null"), "etcd.key: is not set, but etcd.cert is"),
        (Credentials(key="/dev/null"), "etcd.cert: is not set, but etcd.key is"),
        (Credentials(server_name="x"), "etcd.server_name: is set, but etcd.ca is not"),
        (Credentials(user="romana"), "etcd.password_file: is not set, but etcd.user is"),
        (Credentials(user="romana", password_file=os.devnull), "etcd.password_file: is '/dev/null', which is empty"),
    ],
)
def test_wrong_configuration_is_told_before_anything_is_sent(wrong: Credentials, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        EtcdStore(["unix:/nonexistent"], credentials=wrong)
