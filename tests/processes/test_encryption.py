"""Encrypted nodes: what lies on their disks, what they say without a key, changes of keys."""

import shutil
from pathlib import Path

import httpx
import msgspec
import pytest

from dataplane.client import ApiError, Client
from dataplane.client.__main__ import main as client_main
from dataplane.client.anchors import dump_anchor
from dataplane.client.keys import new_api_key
from dataplane.client.local import LocalCluster
from dataplane.client.spec import dump_spec, load_spec
from dataplane.client.tombstones import tombstone_of, verify_tombstone
from dataplane.consensus.config import Limits
from dataplane.storage.engine import RocksStore
from tests.dataplane.storage.ciphers import found_in
from tests.processes.conftest import wait_for, wait_ready
from tests.processes.test_damage import headers_of, local, metric, status
from tests.processes.test_start import run_node

CHECKPOINT = Limits().checkpoint_interval
WORDS = (b"pangolin", b"invoice-4711", b"customers-of-acme", b"name-of-a-key", b"things")


def data_of(cluster: LocalCluster, index: int = 0) -> Path:
    return Path(load_spec(cluster.specs[index]).data_dir)


def fill(cluster: LocalCluster, count: int = 300) -> None:
    """Write documents, a key and a collection, each with a word to look for."""
    key = new_api_key()
    with Client(cluster.urls, cluster.api_key) as client:
        client.collection_put("customers-of-acme", {})
        client.put("customers-of-acme", "invoice-4711", {"animal": "pangolin"})
        for start in range(0, count, 100):
            operations = [
                {"op": "put", "id": f"invoice-4711-{number}", "document": {"animal": "pangolin"}}
                for number in range(start, start + 100)
            ]
            client.bulk("things", operations)
    body = {"name": "name-of-a-key", "hash": key.hash, "scopes": ["documents:read"]}
    url = f"{cluster.urls[0]}/api/v1/keys/{key.id}"
    httpx.put(url, json=body, headers=headers_of(cluster)).raise_for_status()


def encryption(cluster: LocalCluster, index: int = 0) -> dict:
    url = f"{cluster.urls[index]}/api/v1/stats"
    return httpx.get(url, headers=headers_of(cluster), timeout=10).json()["encryption"]


def rotate(cluster: LocalCluster, index: int = 0, **body: str) -> httpx.Response:
    url = f"{cluster.urls[index]}/api/v1/encryption/rotate"
    return httpx.post(url, json=body, headers=headers_of(cluster), timeout=10)


def assert_all_there(cluster: LocalCluster, count: int = 300) -> None:
    with Client(cluster.urls, cluster.api_key) as client:
        stored = {document["_id"]: document["animal"] for document in client.iterate("things")}
        assert client.get("customers-of-acme", "invoice-4711")["animal"] == "pangolin"
    assert stored == {f"invoice-4711-{number}": "pangolin" for number in range(count)}


def test_nothing_of_the_customer_is_readable_on_the_disk(make_cluster, tmp_path):
    cluster = make_cluster(1, algorithm="aes-256-gcm")
    fill(cluster)
    assert encryption(cluster)["algorithm"] == "aes-256-gcm"
    assert not found_in(data_of(cluster), *WORDS)
    assert cluster.stop() == [0]
    assert not found_in(data_of(cluster), *WORDS)
    assert not found_in(cluster.directory, *WORDS), "nor in its log"
    cluster.start()
    wait_ready(cluster)
    assert_all_there(cluster)
    plain = make_cluster(1)
    fill(plain, 100)
    plain.stop()
    assert set().union(*found_in(data_of(plain), *WORDS).values()) == set(WORDS)


def test_a_node_without_its_key_says_so_and_does_not_start(make_cluster, tmp_path):
    cluster = make_cluster(1, algorithm="chacha20-poly1305")
    fill(cluster, 100)
    cluster.kill()
    spec, kek = cluster.specs[0], cluster.directory / "kek.key"
    kept, key = spec.read_bytes(), kek.read_bytes()

    def refusal() -> str:
        ended = run_node(spec)
        assert ended.returncode == 4
        assert "corrupt" not in ended.stderr
        assert "damaged" not in ended.stderr
        assert key.decode() not in ended.stderr
        return ended.stderr

    kek.write_text("ab" * 32)
    assert "put the right file in its place" in refusal()
    kek.unlink()
    assert "put it back" in refusal()
    kek.touch(mode=0o600)
    kek.write_bytes(key)
    wrapped = spec.parent / "cluster.key"
    kept_wrapped = wrapped.read_bytes()
    other = LocalCluster(tmp_path / "other", 1, algorithm="aes-256-gcm")
    shutil.copy(other.specs[0].parent / "cluster.key", wrapped)
    assert "put the right file in its place" in refusal()
    wrapped.write_bytes(kept_wrapped)
    cluster.encrypt("aes-256-gcm")
    assert "not the one this data is under" in refusal()
    wrapped.write_bytes(kept_wrapped)
    plain = msgspec.structs.replace(load_spec(spec), encryption=None)
    spec.write_bytes(dump_spec(plain))
    assert "no section `encryption`" in refusal()
    spec.write_bytes(kept)
    ring = data_of(cluster) / "keyring.json"
    ring.rename(tmp_path / "keyring.json")
    assert "replace the node" in refusal()
    (tmp_path / "keyring.json").rename(ring)
    cluster.start()
    wait_ready(cluster)
    assert_all_there(cluster, 100)


def is_done(cluster: LocalCluster, index: int = 0) -> bool:
    try:
        found = encryption(cluster, index)
    except httpx.HTTPError:
        return False
    return bool(found["enabled"]) and found["rotation"] is None


def test_a_plain_node_turns_encrypted_and_rotates_while_it_serves(make_cluster):
    """Killed in every phase it is seen in; what it served before is there after."""
    cluster = make_cluster(1)
    fill(cluster, 1_500)
    assert rotate(cluster).status_code == 409
    cluster.encrypt("aes-256-gcm")
    begun = rotate(cluster)
    assert begun.status_code == 202
    assert rotate(cluster).status_code == 409
    with Client(cluster.urls, cluster.api_key) as client:
        client.put("customers-of-acme", "new-one", {"animal": "okapi"})
    for _ in range(3):
        cluster.kill()
        cluster.start()
        wait_ready(cluster)
        assert_all_there(cluster, 1_500)
    wait_for(lambda: is_done(cluster), "the node is encrypted")
    assert_all_there(cluster, 1_500)
    assert not (data_of(cluster) / "state").exists()
    assert not found_in(data_of(cluster), *WORDS, b"okapi")
    assert metric(cluster, 0, "aerolith_encryption_enabled") == 1

    ring = (data_of(cluster) / "keyring.json").read_bytes()
    assert rotate(cluster, algorithm="xchacha20-poly1305").status_code == 202
    cluster.kill()
    cluster.start()
    wait_ready(cluster)
    assert_all_there(cluster, 1_500)
    wait_for(lambda: is_done(cluster), "the key is changed")
    found = encryption(cluster)
    assert (found["key"], found["algorithm"]) == (2, "xchacha20-poly1305")
    old = ring.split(b'"wrapped": "')[1].split(b'"')[0]
    assert not found_in(data_of(cluster), old, *WORDS), "nor is the old key"
    cluster.stop()
    cluster.start()
    wait_ready(cluster)
    assert_all_there(cluster, 1_500)


def flip_rows(path: Path, count: int) -> None:
    """Flip a bit in some stored rows, wherever they are."""
    store = RocksStore(path)
    rows = [entry for entry in store.iterate(b"r") if len(entry[1]) > 300][:count]
    assert rows
    for name, sealed in rows:
        store.write({name: sealed[:-1] + bytes([sealed[-1] ^ 1])})
    store.close()


def test_flipped_bits_and_swapped_rows_are_found_and_repaired_from_the_peers(make_cluster):
    cluster = make_cluster(4, algorithm="aes-256-gcm")
    with Client(cluster.urls, cluster.api_key) as client:
        for number in range(CHECKPOINT):
            client.put("things", f"d{number}", {"n": number, "text": "sound" * 60})
    wait_for(lambda: status(cluster, 1)["stable"] >= CHECKPOINT, "a stable checkpoint")
    cluster.kill(1)
    flip_rows(data_of(cluster, 1) / "state.sealed", 3)
    cluster.start(1)
    wait_for(lambda: "state_damaged" in cluster.log(1), "the damage is found")
    wait_for(lambda: "repaired" in cluster.log(1), "the damage is repaired")
    wait_ready(cluster, 1)

    def is_sound() -> bool:
        # The scrub comes to one damaged row after the other, and each is repaired by itself.
        found = {local(cluster, 1, f"d{n}").get("text") for n in range(CHECKPOINT)}
        return found == {"sound" * 60}

    wait_for(is_sound, "every row is as it was")
    with Client([cluster.urls[1]], cluster.api_key, follow=False) as client:
        client.put("things", "after", {"n": 1})


def test_a_dropped_collection_is_shredded_with_a_certificate(make_cluster, tmp_path):
    cluster = make_cluster(4, algorithm="aes-256-gcm")
    headers = headers_of(cluster)
    base = f"{cluster.urls[0]}/api/v1"
    with Client(cluster.urls, cluster.api_key) as client:
        client.collection_put("patients", {"shreddable": True})
        client.put("patients", "p1", {"name": "pangolin"})
        rings = [data_of(cluster, index) / "keyring.json" for index in range(4)]
        wait_for(
            lambda: all(b'"prefix"' in ring.read_bytes() for ring in rings), "keys on all nodes"
        )
        cluster.kill(3)
        cluster.start(3)
        wait_ready(cluster, 3)
        assert client.get("patients", "p1")["name"] == "pangolin"
        client.collection_drop("patients")
        client.put("things", "after", {})
    found = httpx.get(f"{base}/tombstones", headers=headers).json()["results"]
    assert [(row["kind"], row["name"], row["documents"]) for row in found] == [
        ("collection", "patients", 1)
    ]
    wait_for(
        lambda: not any(b'"prefix"' in ring.read_bytes() for ring in rings), "no keys are left"
    )
    proof, anchor = tmp_path / "tombstone.json", tmp_path / "anchor.json"
    anchor.write_bytes(dump_anchor(cluster.anchor))
    answer = httpx.get(f"{base}/tombstones/{found[0]['number']}", headers=headers)
    proof.write_bytes(answer.content)
    command = ["verify-tombstone", str(proof), "--anchor", str(anchor)]
    assert client_main(command) == 0
    proof.write_bytes(answer.content.replace(b'"number":', b'"number":1'))
    assert client_main(command) == 1
    assert httpx.get(f"{base}/tombstones/999", headers=headers).status_code == 404
    erase = {"subject": "file kek.key", "cluster_id": cluster.anchor.cluster_id}
    ordered = httpx.post(f"{base}/tombstones", json=erase, headers=headers)
    assert ordered.status_code == 201
    answer = httpx.get(f"{base}/tombstones/{ordered.json()['number']}", headers=headers)
    assert verify_tombstone(tombstone_of(answer.content), cluster.anchor).kind == "cluster"


def test_cold_documents_are_shredded_with_their_collection(make_cluster):
    cluster = make_cluster(1, algorithm="aes-256-gcm")
    ring = data_of(cluster, 0) / "keyring.json"
    with Client(cluster.urls, cluster.api_key) as client:
        options = {"shreddable": True, "tiering": {"cold_after_s": 1}}
        client.collection_put("patients", options)
        client.put("patients", "p1", {"name": "pangolin" * 20})
        wait_for(lambda: client.stats()["bytes"]["distributed"] > 0, "it is cold")
        cluster.kill(0)
        cluster.start(0)
        wait_ready(cluster, 0)
        # Of documents, of fragments, and of what its key in an archive would be made of.
        assert ring.read_bytes().count(b'"prefix"') == 3
        assert client.get("patients", "p1")["name"] == "pangolin" * 20
        wait_for(lambda: client.stats()["bytes"]["distributed"] > 0, "it is cold again")
        client.collection_drop("patients")
        client.put("things", "after", {})
        wait_for(lambda: b'"prefix"' not in ring.read_bytes(), "no keys are left")
        assert client.stats()["bytes"]["distributed"] == 0


def test_a_plain_node_makes_no_collection_that_could_not_be_shredded(make_cluster):
    cluster = make_cluster(1)
    client = Client(cluster.urls, cluster.api_key)
    with client, pytest.raises(ApiError, match="keeps no keys"):
        client.collection_put("patients", {"shreddable": True})
