"""Objects in a real S3 server and in a directory: each cluster sees its own alone."""

import asyncio
import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import override

import pytest

from dataplane.client.archive_store import ArchiveStore
from dataplane.client.errors import (
    ArchiveRefusedError,
    ArchiveUnavailableError,
    ObjectMissingError,
    SpecError,
)
from dataplane.client.local import LocalCluster, free_ports
from dataplane.client.spec import ArchiveSpec, check_spec, load_spec
from tests.s3_server import S3Server

SECRET = "very-secret-word"


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start("archive")
    yield server
    server.stop()


@pytest.fixture(params=["s3", "directory"])
def spec(request, tmp_path) -> ArchiveSpec:
    if request.param == "directory":
        return ArchiveSpec(tmp_path.as_uri(), "archive", prefix="some/where/")
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps({"access_key_id": "any", "secret_access_key": SECRET}))
    path.chmod(0o600)
    url = request.getfixturevalue("s3").url
    return ArchiveSpec(url, "archive", prefix="some/where/", credentials_file=str(path))


def test_what_is_put_is_read_listed_and_removed_below_its_cluster_only(spec):
    async def use() -> None:
        mine, others = secrets.token_hex(16), secrets.token_hex(16)
        store, other = ArchiveStore(spec, mine), ArchiveStore(spec, others)
        await store.put("a", b"first")
        await store.put("a", b"second")
        await other.put("a", b"of another")
        assert await store.get("a", 6) == b"second"
        assert await store.get("a", 5) is None, "longer than it may be"
        assert await store.exists("a")
        assert not await store.exists("b")
        with pytest.raises(ObjectMissingError):
            await store.get("b", 10)
        await store.put("b", b"")
        assert sorted([name async for part in store.names() for name in part]) == ["a", "b"]
        await store.delete(["a", "nothing"])
        assert not await store.exists("a")
        assert await other.get("a", 10) == b"of another"

    asyncio.run(use())


class Forgetful(BaseHTTPRequestHandler):
    """A store that says 404 of what is to be removed and is not there, as some do."""

    objects: set[str]

    def do_DELETE(self) -> None:
        is_there = self.path in self.objects
        self.objects.discard(self.path)
        self.send_response(204 if is_there else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    @override
    def log_message(self, *_: object) -> None:
        return


def test_what_is_gone_already_is_removed_whatever_the_store_says_of_it(tmp_path):
    Forgetful.objects = {f"/archive/c/{name}" for name in "abcde"}
    server = ThreadingHTTPServer(("127.0.0.1", free_ports(1)[0]), Forgetful)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps({"access_key_id": "any", "secret_access_key": SECRET}))
    path.chmod(0o600)
    url = f"http://127.0.0.1:{server.server_port}"
    store = ArchiveStore(ArchiveSpec(url, "archive", credentials_file=str(path)), "c")
    try:
        asyncio.run(store.delete(["nothing", "a", "b", "nor this", "c", "d"]))
    finally:
        server.shutdown()
        server.server_close()
    assert Forgetful.objects == {"/archive/c/e"}


def test_a_store_that_is_away_says_so_and_no_secret(tmp_path):
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps({"access_key_id": "any", "secret_access_key": SECRET}))
    path.chmod(0o600)
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    store = ArchiveStore(ArchiveSpec(url, "archive", credentials_file=str(path)), "c")

    async def fail() -> None:
        for call in (store.get("a", 1), store.put("a", b""), store.exists("a")):
            with pytest.raises(ArchiveUnavailableError) as caught:
                await call
            assert SECRET not in str(caught.value)
            assert "\n" not in str(caught.value)
            assert "127.0.0.1" not in str(caught.value)

    asyncio.run(fail())


def test_credentials_are_read_again_when_their_file_changes_and_not_when_others_may(s3, tmp_path):
    path = tmp_path / "credentials.json"
    spec = ArchiveSpec(s3.url, "archive", credentials_file=str(path))
    store = ArchiveStore(spec, secrets.token_hex(16))

    async def refused() -> str:
        with pytest.raises(ArchiveUnavailableError) as caught:
            await store.exists("a")
        return str(caught.value)

    async def use() -> None:
        assert "cannot read the credentials" in await refused()
        path.write_text("{" + SECRET)
        path.chmod(0o600)
        assert "must be JSON" in await refused()
        path.write_text(json.dumps({"access_key_id": "any", "secret_access_key": SECRET}))
        path.chmod(0o644)
        assert "make it mode 0600" in await refused()
        path.chmod(0o600)
        assert not await store.exists("a")

    asyncio.run(use())


def test_a_directory_that_lets_nothing_go_refuses(tmp_path):
    blocked = tmp_path / "archive"
    blocked.write_text("a file in the place of the bucket")
    store = ArchiveStore(ArchiveSpec(tmp_path.as_uri(), "archive"), "c")
    with pytest.raises(ArchiveUnavailableError):
        asyncio.run(store.put("a", b""))
    assert issubclass(ArchiveRefusedError, ArchiveUnavailableError)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"url": "ftp://host"}, "archive.url must begin"),
        ({"url": "https://user:word@host"}, "no credentials"),
        ({"bucket": "A"}, "archive.bucket"),
        ({"bucket": "../x"}, "archive.bucket"),
        ({"prefix": "a"}, "archive.prefix"),
        ({"prefix": "../"}, "archive.prefix"),
        ({"prefix": "/a/"}, "archive.prefix"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused(tmp_path, fields, fault):
    good = {"url": "https://host", "bucket": "archive", "prefix": "a/b-c/"}
    LocalCluster(tmp_path / "good", 1, archive=ArchiveSpec(**good))
    check_spec(load_spec(tmp_path / "good" / "node-0" / "spec.json"))
    LocalCluster(tmp_path / "bad", 1, archive=ArchiveSpec(**(good | fields)))
    with pytest.raises(SpecError, match=fault):
        load_spec(tmp_path / "bad" / "node-0" / "spec.json")
