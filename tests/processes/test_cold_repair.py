"""Fragments of cold documents stay right: damaged, lost with a disk, or with members that left."""

import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from dataplane.client import ApiError, Client, ClusterUnreachableError, NotReadyError
from dataplane.client.local import LocalCluster
from dataplane.client.spec import load_spec
from dataplane.consensus.config import Limits
from dataplane.storage.engine import RocksStore
from dataplane.storage.fragments import FRAGMENT
from tests.processes.conftest import wait_for, wait_ready
from tests.processes.test_membership import change, grow

NAMES = [f"c{number}" for number in range(12)]
"""Collections: each has segments of its own."""
COUNT = 3
TEXT_CHARS = 2_000
RETENTION = Limits().retained_batches_max
CHECKPOINT = Limits().checkpoint_interval


def text_of(name: str, number: int) -> str:
    return f"{name}/{number}:" + random.Random(f"{name}/{number}").randbytes(TEXT_CHARS // 2).hex()


def every_document() -> dict[tuple[str, str], str]:
    return {(name, f"d{n}"): text_of(name, n) for name in NAMES for n in range(COUNT)}


def segments(cluster: LocalCluster, index: int) -> dict:
    """Return what a node tells of segments; nothing while it does not answer."""
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    url = f"{cluster.nodes[index].url}/api/v1/stats"
    try:
        return httpx.get(url, headers=headers, timeout=10, trust_env=False).json()["segments"]
    except (httpx.TransportError, KeyError):
        return {}


def fragments(cluster: LocalCluster, index: int) -> dict:
    return segments(cluster, index).get("fragments", {})


def is_whole(cluster: LocalCluster, index: int) -> bool:
    """Whether a node went once through all of its fragments and lacks none."""
    found = fragments(cluster, index)
    return bool(found) and found["rounds"] > 0 and found["missing"] == 0


def make_cold(cluster: LocalCluster) -> None:
    """Write documents and wait until they are cold."""
    with Client(cluster.urls, cluster.api_key) as client:
        for name in NAMES:
            client.collection_put(name, {"tiering": {"cold_after_s": 1}})
        for (name, document), text in every_document().items():
            client.put(name, document, {"text": text})
        wait_for(lambda: cold_count(client) == COUNT * len(NAMES), "the documents are cold")


def cold_count(client: Client) -> int:
    return sum(c["tiers"]["distributed"]["documents"] for c in client.collections() if "tiers" in c)


def stay_cold(cluster: LocalCluster) -> None:
    """Let what is cold be all that is moved from here on."""
    with Client(cluster.urls, cluster.api_key) as client:
        for name in NAMES:
            client.collection_put(name, {"tiering": {"cold_after_s": 3_600}})


def change_disk(
    cluster: LocalCluster, index: int, change: Callable[[dict[bytes, bytes]], dict] | None = None
) -> dict[bytes, bytes]:
    """Return the fragments of a node that is down, as they were before they are changed."""
    store = RocksStore(Path(load_spec(cluster.specs[index]).data_dir) / "state")
    rows = dict(store.iterate(FRAGMENT))
    if change is not None:
        store.write(change(rows))
    store.close()
    return rows


def flip_and_lose(rows: dict[bytes, bytes]) -> dict[bytes, bytes | None]:
    first, second, *_ = sorted(rows)
    return {first: rows[first][:-1] + bytes([rows[first][-1] ^ 1]), second: None}


def test_a_flipped_and_a_lost_fragment_are_found_and_made_again_also_by_who_is_killed_at_it(
    make_cluster,
):
    cluster = make_cluster(4)
    make_cold(cluster)
    stay_cold(cluster)
    cluster.kill(1)
    before = change_disk(cluster, 1, flip_and_lose)
    assert len(before) >= len(NAMES)
    cluster.start(1)
    wait_ready(cluster, 1)
    wait_for(lambda: fragments(cluster, 1).get("rebuilt") == 2, "both are rebuilt")
    wait_for(lambda: is_whole(cluster, 1), "none is missing")
    assert fragments(cluster, 1)["found"] == 2
    cluster.kill(1)
    assert change_disk(cluster, 1, dict.fromkeys) == before
    cluster.start(1)
    wait_for(lambda: fragments(cluster, 1).get("rebuilt", 0) >= 1, "it is at work")
    cluster.kill(1)
    cluster.start(1)
    wait_for(lambda: is_whole(cluster, 1), "none is missing")
    cluster.kill()
    assert change_disk(cluster, 1) == before


@pytest.mark.slow
def test_a_node_without_its_disk_has_every_fragment_again_and_serves_meanwhile(make_cluster):
    cluster = make_cluster(4)
    make_cold(cluster)
    stay_cold(cluster)
    cluster.kill(3)
    before = change_disk(cluster, 3)
    shutil.rmtree(Path(load_spec(cluster.specs[3]).data_dir))
    with Client(cluster.urls, cluster.api_key) as client:
        for number in range(RETENTION + CHECKPOINT):
            client.put("hot", f"d{number % 50}", {"n": number})
    cluster.start(3)
    wait_ready(cluster, 3)
    with Client([cluster.urls[3]], cluster.api_key, follow=False) as client:
        for name in NAMES[:2]:
            assert client.get(name, "d0", consistency="local")["text"] == text_of(name, 0)
    held = fragments(cluster, 0)["held"]
    wait_for(lambda: fragments(cluster, 3).get("held") == held, "it has the state")
    wait_for(lambda: is_whole(cluster, 3), "none is missing")
    cluster.kill()
    after = change_disk(cluster, 3)
    kept = {key: row for key, row in before.items() if key in after}
    assert kept == {key: row for key, row in after.items() if key in kept}
    assert len(after) == len(change_disk(cluster, 0))


class Reader:
    """Reads all documents again and again, from whoever is a member."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.failures: list[str] = []
        self.rounds = 0
        self._cluster = cluster
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            with Client(self._cluster.urls, self._cluster.api_key, timeout_s=20) as client:
                for (name, document), text in every_document().items():
                    try:
                        if client.get(name, document)["text"] != text:
                            self.failures.append(f"{name}/{document} is another")
                    except (ApiError, ClusterUnreachableError) as error:
                        self.failures.append(f"{name}/{document}: {error}")
            self.rounds += 1

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=60)
        assert not self.failures, self.failures[:3]


@pytest.mark.slow
def test_cold_documents_are_read_at_every_moment_while_members_come_and_go(make_cluster):
    cluster = make_cluster(4)
    make_cold(cluster)
    reader = Reader(cluster)
    members = [0, 1, 2, 3]
    added = grow(cluster, 3)
    for step in ([*members, *added], members):
        change(cluster, *step)
        rounds = reader.rounds
        wait_for(lambda rounds=rounds: reader.rounds > rounds + 1, "all were read")
    cluster.kill(3)
    (new,) = grow(cluster, 1)
    change(cluster, 0, 1, 2, new)
    # Another one is not replaced before what the first had is with the second.
    (newer,) = grow(cluster, 1)
    wait_for(lambda: is_taken(cluster, 0, 1, new, newer), "the order is taken", 60)
    wait_ready(cluster, 0, 1, new, newer)
    wait_for(lambda: segments(cluster, newer).get("misplaced") == 0, "all was made anew", 60)
    rounds = reader.rounds
    wait_for(lambda: reader.rounds > rounds + 1, "all were read")
    reader.stop()


def is_taken(cluster: LocalCluster, *ids: int) -> bool:
    try:
        cluster.reconfigure(*ids)
    except NotReadyError:
        return False
    return True
