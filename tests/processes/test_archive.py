"""Segments in a real object store: moved, read and removed whoever dies on the way."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from dataplane.client import Client
from dataplane.client.key_providers import cluster_key_context, cluster_key_read, provider_of
from dataplane.client.local import LocalCluster
from dataplane.client.provisioning import write_private
from dataplane.client.spec import ArchiveSpec, FileKeySpec, dump_spec, load_spec
from dataplane.client.taking import take_backup
from dataplane.documents.archive_rows import ARCHIVE_SALT, salt_key
from dataplane.documents.tables import SEGMENT, SegmentRow, decode_segment, key_numbers
from dataplane.security.archive_objects import object_key, object_place, open_object
from tests.dataplane.node.test_encryption import Disk
from tests.dataplane.storage.ciphers import found_in
from tests.processes.conftest import wait_for, wait_ready
from tests.processes.test_backups import restore
from tests.processes.test_damage import headers_of, metric, status
from tests.processes.test_encryption import data_of, is_done, rotate
from tests.s3_server import Door, S3Server, lock_bucket

BUCKET = "archive"
ARCHIVED = {"tiering": {"archive_after_s": 1}}
KEPT = {"tiering": {"cold_after_s": 3600, "archive_after_s": 7200}}
TEXT = "pangolin " * 40
SECRET = "a-secret-of-the-store"


@pytest.fixture(scope="module")
def s3(tmp_path_factory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start(BUCKET)
    yield server
    server.stop()


@pytest.fixture
def door(s3) -> Iterator[Door]:
    found = Door(s3.url)
    yield found
    found.close()


def archive_of(url: str, tmp_path: Path, bucket: str = BUCKET) -> ArchiveSpec:
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps({"access_key_id": "any", "secret_access_key": SECRET}))
    path.chmod(0o600)
    return ArchiveSpec(url, bucket, prefix="tests/", credentials_file=str(path))


def client_of(cluster: LocalCluster) -> Client:
    return Client(cluster.urls, cluster.api_key, timeout_s=20)


def fill(client: Client, name: str, count: int = 5, **options: object) -> None:
    client.collection_put(name, ARCHIVED | options)
    client.bulk(
        name,
        [{"op": "put", "id": f"d{n}", "document": {"n": n, "text": TEXT}} for n in range(count)],
    )


def archived(client: Client, name: str) -> int:
    rows = client.collections()
    found = next(row for row in rows if row["name"] == name)
    return int(found.get("tiers", {}).get("archive", {}).get("documents", 0))


def wait_archived(client: Client, name: str, count: int = 5) -> None:
    wait_for(lambda: archived(client, name) == count, f"all of {name} is archived", 60)


def objects(s3: S3Server, cluster: LocalCluster, bucket: str = BUCKET) -> list[str]:
    """Return the names of a cluster's objects, as the server lists them to anybody."""
    query = {"list-type": "2", "prefix": f"tests/{cluster.cluster_id}/"}
    listed = httpx.get(f"{s3.url}/{bucket}", params=query, trust_env=False, timeout=10).text
    return [part.split("</Key>")[0] for part in listed.split("<Key>")[1:]]


def object_url(s3: S3Server, name: str) -> str:
    return f"{s3.url}/{BUCKET}/{name}"


def read(cluster: LocalCluster, collection: str, name: str) -> httpx.Response:
    url = f"{cluster.urls[0]}/api/v1/collections/{collection}/documents/{name}"
    return httpx.get(url, headers=headers_of(cluster), timeout=20)


def queued(cluster: LocalCluster, index: int = 0) -> float:
    return metric(cluster, index, "aerolith_archive_to_remove")


def test_documents_go_to_the_archive_sealed_and_come_back_whatever_happens_to_keys(
    make_cluster, s3, tmp_path
):
    lock_bucket(f"{s3.url}/locked")
    archive = archive_of(s3.url, tmp_path, "locked")
    cluster = make_cluster(1, algorithm="aes-256-gcm", archive=archive)
    with client_of(cluster) as client:
        fill(client, "things")
        wait_archived(client, "things")
        (name,) = objects(s3, cluster, "locked")
        stored = httpx.get(f"{s3.url}/locked/{name}", trust_env=False).content
        assert stored.startswith(b"AEROARC1")
        assert not found_in(s3.directory, b"pangolin", b"things")
        assert not found_in(data_of(cluster), b"pangolin")
        assert SECRET not in cluster.log(0)
        assert SECRET.encode() not in cluster.specs[0].read_bytes()

        assert rotate(cluster, algorithm="xchacha20-poly1305").status_code == 202
        wait_for(lambda: is_done(cluster), "the key is changed")
        rewrap(cluster)
        cluster.kill()
        cluster.start()
        wait_ready(cluster)
        client.collection_put("things", KEPT)
        page = client.query("things", filter={"n": {"$gte": 3}}, sort={"n": 1}, explain=True)
        assert [(row["n"], row["text"]) for row in page["documents"]] == [(3, TEXT), (4, TEXT)]
        tiers = {"memory": 0, "ssd": 0, "distributed": 0, "archive": 5}
        assert page["plan"]["tiers"] == tiers
        assert page["plan"]["segments"]["fetched"] == 1
        fetches = 'aerolith_segment_fetch_seconds_count{tier="archive"}'
        assert metric(cluster, 0, fetches) == 1
        assert archived(client, "things") == 5, "a query puts nothing back"
        assert client.get("things", "d1")["text"] == TEXT
        wait_for(lambda: archived(client, "things") == 4, "who is asked for comes back")
        for number in range(5):
            client.put("things", f"d{number}", {"new": number})
        wait_for(lambda: objects(s3, cluster, "locked") == [], "nothing is shown in the bucket")
        wait_for(lambda: queued(cluster) == 0, "nor in the queue, though the lock keeps it")


def rewrap(cluster: LocalCluster) -> None:
    """Put the cluster key under another key-encryption key."""
    old = load_spec(cluster.specs[0]).encryption
    assert old is not None
    path = Path(old.wrapped_key_file)
    key = cluster_key_read(path, old.provider, cluster.cluster_id)
    provider = FileKeySpec(str(cluster.directory / "other-kek.key"))
    provider_of(provider).create()
    wrapped = provider_of(provider).wrap(key, cluster_key_context(cluster.cluster_id))
    write_private(path, wrapped)
    for spec_path in cluster.specs:
        spec = load_spec(spec_path)
        changed = msgspec.structs.replace(
            spec, encryption=msgspec.structs.replace(old, provider=provider)
        )
        write_private(spec_path, dump_spec(changed))
    Path(old.provider.path).unlink()


def test_an_object_that_was_tampered_with_is_never_answered(make_cluster, s3, tmp_path):
    cluster = make_cluster(1, algorithm="aes-256-gcm", archive=archive_of(s3.url, tmp_path))
    with client_of(cluster) as client:
        urls: dict[str, str] = {}
        # One after the other, as nothing says whose segment is made first.
        for name in ("flipped", "swapped", "gone"):
            fill(client, name)
            wait_archived(client, name)
            client.collection_put(name, KEPT)
            [urls[name]] = set(objects(s3, cluster)) - set(urls.values())
        good = {
            name: httpx.get(object_url(s3, key), trust_env=False).content
            for name, key in urls.items()
        }
        flipped = bytearray(good["flipped"])
        flipped[len(flipped) // 2] ^= 1
        put_object(s3, urls["flipped"], bytes(flipped))
        put_object(s3, urls["swapped"], good["gone"])
        httpx.delete(object_url(s3, urls["gone"]), trust_env=False).raise_for_status()
        for number, name in enumerate(urls, 1):
            answer = read(cluster, name, "d1")
            assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
            said = "not in the archive" if name == "gone" else "changed or damaged"
            assert said in answer.json()["detail"]
            assert metric(cluster, 0, "aerolith_archive_damaged") == number
            assert urls[name].rpartition("/")[2] in cluster.log(0)
            put_object(s3, urls[name], good[name])
            assert client.get(name, "d1")["text"] == TEXT


def put_object(s3: S3Server, name: str, content: bytes) -> None:
    httpx.put(object_url(s3, name), content=content, trust_env=False).raise_for_status()


def test_one_member_that_lies_neither_archives_nor_forgets_anything(tmp_path, s3, door):
    archive = archive_of(door.url, tmp_path)
    door.refused = frozenset({"PUT"})
    cluster = LocalCluster(
        tmp_path / "cluster",
        4,
        liars={0: "forged_archive"},
        algorithm="aes-256-gcm",
        archive=archive,
    )
    try:
        cluster.start()
        wait_ready(cluster)
        with Client(cluster.urls[1:], cluster.api_key, timeout_s=20, follow=False) as client:
            fill(client, "things")
            wait_for(lambda: "archive.unreachable" in cluster.log(1), "an honest one cannot", 60)
            assert archived(client, "things") == 0, "the word of the liar is not enough"
            door.refused = frozenset({"DELETE"})
            wait_archived(client, "things")
            assert len(objects(s3, cluster)) == 1, "so an honest member uploaded it"
            client.collection_put("things", KEPT)
            assert client.get("things", "d1")["text"] == TEXT
            client.collection_drop("things")
            wait_for(lambda: "archive.not_removed" in cluster.log(1), "it may not be removed", 60)
            assert queued(cluster, 1) == 1, "and is not forgotten"
            assert len(objects(s3, cluster)) == 1
    finally:
        cluster.kill()


def test_while_the_store_is_away_everything_hot_goes_on_and_the_rest_says_why(
    make_cluster, door, tmp_path
):
    cluster = make_cluster(1, algorithm="aes-256-gcm", archive=archive_of(door.url, tmp_path))
    with client_of(cluster) as client:
        fill(client, "things")
        wait_archived(client, "things")
        client.collection_put("things", KEPT)
        door.is_shut = True
        answer = read(cluster, "things", "d1")
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
        assert "archive cannot be read" in answer.json()["detail"]
        fill(client, "later")
        assert client.get("later", "d1")["text"] == TEXT
        wait_for(lambda: "archive.unreachable" in cluster.log(0), "the node says so")
        wait_for(lambda: metric(cluster, 0, "aerolith_archive_leaving") == 1, "one waits to go")
        client.put("things", "d2", {"hot": 1})
        door.is_shut = False
        wait_for(lambda: read(cluster, "things", "d1").is_success, "it is read again", 60)
        assert client.get("things", "d1")["text"] == TEXT
        wait_archived(client, "later")


STEPS = {
    "upload": [("PUT", "before")],
    "between attestations": [("PUT", "behind"), ("GET", "before"), ("GET", "before")],
}


def test_a_worker_killed_at_any_step_leaves_nothing_undone(make_cluster, s3, door, tmp_path):
    cluster = make_cluster(4, algorithm="aes-256-gcm", archive=archive_of(door.url, tmp_path))
    with client_of(cluster) as client:
        for step, holds in STEPS.items():
            name = step.replace(" ", "-")
            door.hold(*holds[0])
            fill(client, name)
            for following in holds[1:]:
                door.wait_held()
                door.hold(*following)
                door.release()
            door.wait_held()
            kill_and_go_on(cluster, door)
            wait_archived(client, name)
            cluster.start(*[index for index in range(4) if index not in cluster.processes])
            wait_ready(cluster)
            assert client.get(name, "d3")["text"] == TEXT, step
        before = len(objects(s3, cluster))
        door.hold("DELETE", "behind")
        client.collection_drop("upload")
        door.wait_held()
        kill_and_go_on(cluster, door)
        wait_for(lambda: queued(cluster, alive(cluster)) == 0, "the queue is empty", 60)
        assert len(objects(s3, cluster)) < before
        found = client.query("between-attestations", filter={}, sort={"n": 1})["documents"]
        assert [row["text"] for row in found] == [TEXT] * 5


def alive(cluster: LocalCluster) -> int:
    return min(cluster.processes)


def kill_and_go_on(cluster: LocalCluster, door: Door) -> None:
    """Kill the primary, which is at work, without a warning; let what it asked for go on."""
    primary = status(cluster, alive(cluster))["primary"]
    cluster.kill(primary)
    door.release()


def test_a_backup_brings_archived_documents_to_a_cluster_that_shares_no_object(
    make_cluster, s3, tmp_path
):
    spec = archive_of(s3.url, tmp_path)
    old = make_cluster(1, algorithm="aes-256-gcm", archive=spec)
    new = make_cluster(1, algorithm="aes-256-gcm", archive=spec)
    with client_of(old) as client, client_of(new) as other:
        fill(client, "things")
        wait_archived(client, "things")
        verified = take_backup(old.urls, old.api_key, old.anchor, tmp_path / "backup")
        assert verified.is_whole
        restore(new, tmp_path / "backup", verified, secrets.token_hex(16))
        assert other.get("things", "d2")["text"] == TEXT
        wait_archived(other, "things")
        kept = objects(s3, old)
        assert len(kept) == 1
        other.collection_drop("things")
        wait_for(lambda: objects(s3, new) == [], "the new cluster removes its own")
        assert objects(s3, old) == kept
        client.put("things", "d1", {"spoilt": True})
        restore(old, tmp_path / "backup", verified, secrets.token_hex(16), replace=True)
        wait_for(lambda: not set(objects(s3, old)) & set(kept), "what a restore replaced goes")
        assert client.get("things", "d1")["text"] == TEXT


def test_a_kept_object_of_a_dropped_collection_opens_for_nobody(make_cluster, s3, tmp_path):
    cluster = make_cluster(1, algorithm="aes-256-gcm", archive=archive_of(s3.url, tmp_path))
    with client_of(cluster) as client:
        fill(client, "patients", shreddable=True)
        wait_archived(client, "patients")
        (name,) = objects(s3, cluster)
        kept = httpx.get(object_url(s3, name), trust_env=False).content
        secret, (salt,), ((number, row),) = inside(cluster)
        place = object_place(cluster.cluster_id, row.collection, number, row.digest)
        assert open_object(object_key(secret, salt), kept, place) is not None
        assert open_object(object_key(secret, b""), kept, place) is None
        assert client.get("patients", "d1")["text"] == TEXT
        ring = data_of(cluster) / "keyring.json"
        assert ring.read_bytes().count(b'"prefix"') == 3
        client.collection_drop("patients")
        wait_for(lambda: objects(s3, cluster) == [], "the object follows")
        wait_for(lambda: b'"prefix"' not in ring.read_bytes(), "no keys are left")
        assert inside(cluster) == (secret, [], []), "whoever has the disk and the cluster key"


def inside(cluster: LocalCluster) -> tuple[bytes, list[bytes], list[tuple[int, SegmentRow]]]:
    """Return the archive secret, the salts and the segments that are on the disk of a node."""
    cluster.stop()
    disk = Disk(load_spec(cluster.specs[0]))
    try:
        rows = list(disk.store.iterate(ARCHIVE_SALT))
        salts = [value for key, value in rows if len(key) == len(salt_key(1))]
        segments = [
            (key_numbers(key)[0], decode_segment(value))
            for key, value in disk.store.iterate(SEGMENT)
        ]
        return disk.keyring.archive_secret, salts, segments
    finally:
        disk.close()
        cluster.start()
        wait_ready(cluster)
