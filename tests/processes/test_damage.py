"""What a node does about a broken log, a full disk, a standstill, and exactly what survives."""

import os
import resource
import shutil
import signal
import threading
from pathlib import Path

import httpx
import pytest

from dataplane.client import ApiError, Client, ClusterUnreachableError
from dataplane.client.local import LocalCluster
from dataplane.client.spec import load_spec
from dataplane.consensus.config import Limits
from dataplane.storage.engine import RocksStore
from tests.processes.conftest import wait_for, wait_ready

CHECKPOINT = Limits().checkpoint_interval
RETENTION = Limits().retained_batches_max
INCREMENT = "application/vnd.aerolith.update+json"


def headers_of(cluster: LocalCluster) -> dict[str, str]:
    return {"Authorization": f"Bearer {cluster.api_key}"}


def member(cluster: LocalCluster, seen_from: int, index: int) -> dict[str, object]:
    url = f"{cluster.urls[seen_from]}/api/v1/nodes/status"
    return httpx.get(url, headers=headers_of(cluster), timeout=10).json()["nodes"][index]


def status(cluster: LocalCluster, index: int) -> dict[str, object]:
    url = f"{cluster.urls[index]}/api/v1/nodes/status"
    return httpx.get(url, headers=headers_of(cluster), timeout=10).json()


def local(cluster: LocalCluster, index: int, name: str) -> dict[str, object]:
    """Read a document from one node's own state."""
    url = f"{cluster.urls[index]}/api/v1/collections/things/documents/{name}?consistency=local"
    return httpx.get(url, headers=headers_of(cluster), timeout=10).json()


def metric(cluster: LocalCluster, index: int, name: str) -> int:
    try:
        page = httpx.get(f"{cluster.urls[index]}/metrics", timeout=10).text
    except httpx.HTTPError:
        return -1
    found = [line for line in page.splitlines() if line.startswith(f"{name} ")]
    return int(found[0].rpartition(" ")[2]) if found else 0


def damage(path: Path, old: bytes, new: bytes) -> None:
    """Change one stored document below everything that would notice."""
    store = RocksStore(path)
    key, row = next(item for item in store.iterate(b"D") if old in item[1])
    store.write({key: row.replace(old, new)})
    store.close()


def exit_code(cluster: LocalCluster, index: int) -> int:
    wait_for(lambda: cluster.processes[index].poll() is not None, f"node {index} ends")
    return cluster.processes.pop(index).returncode


class Ledger:
    """Threads that write each document once and raise a counter of their own."""

    def __init__(self, cluster: LocalCluster, count: int) -> None:
        self.written: dict[str, int] = {}
        self.counted = [0] * count
        self.attempted = [0] * count
        self._cluster = cluster
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,), daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        url = self._cluster.urls[number % len(self._cluster.urls)]
        base = f"{url}/api/v1/collections"
        with httpx.Client(headers=headers_of(self._cluster), timeout=10, trust_env=False) as http:
            while not self._stop.is_set():
                turn = self.attempted[number]
                self.attempted[number] += 1
                try:
                    self._write(http, base, f"w{number}-{turn}", turn)
                    self._count(http, base, number)
                except httpx.HTTPError:
                    self._stop.wait(0.05)

    def _write(self, http: httpx.Client, base: str, name: str, turn: int) -> None:
        answer = http.put(f"{base}/ledger/documents/{name}", json={"turn": turn})
        if answer.status_code == 201:
            self.written[name] = answer.json()["_version"]

    def _count(self, http: httpx.Client, base: str, number: int) -> None:
        answer = http.patch(
            f"{base}/counters/documents/c{number}",
            content=b'{"$inc": {"n": 1}}',
            headers={"Content-Type": INCREMENT},
        )
        if answer.status_code == 200:
            self.counted[number] += 1

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)

    def check(self) -> None:
        with Client(self._cluster.urls, self._cluster.api_key) as client:
            stored = {document["_id"]: document for document in client.iterate("ledger")}
            counters = {document["_id"]: document["n"] for document in client.iterate("counters")}
        assert self.written
        assert {name: stored[name]["_version"] for name in self.written} == self.written
        for name in self.written:
            assert stored[name]["turn"] == int(name.rpartition("-")[2])
        for number, counted in enumerate(self.counted):
            assert counted <= counters[f"c{number}"] <= self.attempted[number]


def ledger_of(cluster: LocalCluster, writers: int) -> Ledger:
    with Client(cluster.urls, cluster.api_key) as client:
        for number in range(writers):
            client.put("counters", f"c{number}", {"n": 0})
    return Ledger(cluster, writers)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 4, 6])
def test_every_acknowledged_version_survives_repeated_crashes_of_all_nodes(make_cluster, count):
    cluster = make_cluster(count)
    ledger = ledger_of(cluster, 8)
    for crash in range(2):
        target = len(ledger.written) + 80
        wait_for(lambda target=target: len(ledger.written) >= target, f"writes before {crash}")
        cluster.kill()
        cluster.start()
        wait_ready(cluster)
    ledger.stop()
    ledger.check()


def test_a_node_that_stands_still_is_noticed_and_catches_up(make_cluster):
    cluster = make_cluster(4)
    os.kill(cluster.processes[3].pid, signal.SIGSTOP)
    with Client(cluster.urls[:3], cluster.api_key) as client:
        for number in range(40):
            client.put("things", f"d{number}", {"n": number})
    wait_for(lambda: not member(cluster, 0, 3)["reachable"], "the standstill is noticed")
    assert cluster.is_ready(0)
    os.kill(cluster.processes[3].pid, signal.SIGCONT)
    wait_for(lambda: member(cluster, 0, 3)["reachable"], "node 3 is back")
    wait_for(lambda: member(cluster, 0, 3)["lag"] == 0, "node 3 caught up")
    url = f"{cluster.urls[3]}/api/v1/collections/things/documents/d39?consistency=local"
    assert httpx.get(url, headers=headers_of(cluster)).json()["n"] == 39


def test_a_node_with_a_damaged_log_learns_and_never_votes_again(make_cluster):
    cluster = make_cluster(4)
    with Client(cluster.urls, cluster.api_key) as client:
        for number in range(20):
            client.put("things", f"d{number}", {"n": number})
    cluster.kill(2)
    data = Path(load_spec(cluster.specs[2]).data_dir)
    segment = max((data / "wal").glob("0*"))
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 0x40
    segment.write_bytes(content)
    for _ in range(2):
        cluster.start(2)
        wait_ready(cluster, 2)
        with Client([cluster.urls[0]], cluster.api_key, follow=False) as client:
            client.put("things", "after", {"n": 1})
        wait_for(lambda: member(cluster, 2, 2)["lag"] == 0, "node 2 follows")
        assert status(cluster, 2)["amnesia"] is True
        assert status(cluster, 0)["amnesia"] is False
        assert "damaged record" in cluster.log(2)
        assert local(cluster, 2, "after")["n"] == 1
        # Without its vote one more failure is one too many, and the node does not pretend.
        cluster.kill(3)
        wait_for(lambda: not cluster.is_ready(2), "node 2 sees that no quorum is left")
        cluster.start(3)
        wait_ready(cluster)
        cluster.kill(2)


def test_a_flipped_bit_in_a_stored_document_is_found_and_repaired_from_the_peers(make_cluster):
    cluster = make_cluster(4)
    with Client(cluster.urls, cluster.api_key) as client:
        for number in range(CHECKPOINT):
            client.put("things", f"d{number}", {"n": number, "text": "sound"})
    wait_for(lambda: status(cluster, 1)["stable"] >= CHECKPOINT, "a stable checkpoint")
    cluster.kill(1)
    damage(Path(load_spec(cluster.specs[1]).data_dir) / "state", b"sound", b"wound")
    cluster.start(1)
    wait_for(lambda: "state_damaged" in cluster.log(1), "the damage is found")
    wait_for(lambda: "repaired" in cluster.log(1), "the damage is repaired")
    wait_ready(cluster, 1)
    texts = {local(cluster, 1, f"d{number}")["text"] for number in range(CHECKPOINT)}
    assert texts == {"sound"}
    with Client([cluster.urls[1]], cluster.api_key, follow=False) as client:
        client.put("things", "after", {"n": 1})
        assert client.get("things", "d0")["text"] == "sound"
    assert metric(cluster, 1, 'aerolith_alarms_total{code="repaired"}') == 1
    assert metric(cluster, 1, "aerolith_state_sound") == 1


@pytest.mark.slow
def test_a_node_that_lost_its_disk_copies_the_state_in_a_quiet_cluster(make_cluster):
    cluster = make_cluster(4)
    data = Path(load_spec(cluster.specs[3]).data_dir)
    with Client(cluster.urls, cluster.api_key) as client:
        client.put("things", "first", {"n": 0})
        cluster.kill(3)
        for number in range(RETENTION + CHECKPOINT):
            client.put("things", f"d{number % 300}", {"n": number})
    shutil.rmtree(data / "state")
    shutil.rmtree(data / "wal")
    # Whoever could show the checkpoint from memory is gone too; and the primary stays away.
    for index in (1, 2):
        cluster.kill(index)
        cluster.start(index)
    wait_ready(cluster, 1, 2)
    cluster.kill(0)
    cluster.start(3)
    wait_for(lambda: metric(cluster, 3, "aerolith_state_copies") == 1, "the state is copied")
    cluster.start(0)
    wait_ready(cluster)
    wait_for(lambda: member(cluster, 3, 3)["lag"] == 0, "the batches behind it are fetched")
    assert status(cluster, 3)["amnesia"] is True
    for name in ("first", "d0", "d299"):
        assert local(cluster, 3, name) == local(cluster, 1, name)
    with Client([cluster.urls[3]], cluster.api_key, follow=False) as client:
        client.put("things", "after", {"n": 1})


def test_a_log_that_cannot_be_written_halts_the_node_and_loses_nothing(make_cluster):
    cluster = make_cluster(1)
    acknowledged = []
    with Client(cluster.urls, cluster.api_key) as client:
        client.put("things", "before", {"n": 1})
        pid = cluster.processes[0].pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (64 * 1024, resource.RLIM_INFINITY))
        try:
            for number in range(200):
                client.put("things", f"d{number}", {"text": "x" * 4_000})
                acknowledged.append(f"d{number}")
        except (ApiError, ClusterUnreachableError):
            pass
    assert len(acknowledged) < 200
    assert exit_code(cluster, 0) == 3
    assert "node.halted" in cluster.log(0)
    cluster.start()
    wait_ready(cluster)
    with Client(cluster.urls, cluster.api_key) as client:
        assert client.get("things", "before")["n"] == 1
        for name in acknowledged:
            assert client.get("things", name)["text"] == "x" * 4_000


def test_the_metrics_page_tells_queues_and_latencies(make_cluster):
    cluster = make_cluster(1)
    with Client(cluster.urls, cluster.api_key) as client:
        client.put("things", "one", {"n": 1})
    page = httpx.get(f"{cluster.urls[0]}/metrics").text
    figures = dict(
        line.rsplit(" ", 1) for line in page.splitlines() if line and not line.startswith("#")
    )
    assert int(figures["aerolith_sequence"]) >= 1
    assert int(figures["aerolith_log_bytes"]) > 0
    assert int(figures["aerolith_ready"]) == 1
    assert int(figures["aerolith_log_syncs_total"]) > 0
    assert float(figures['aerolith_latency_seconds{quantile="0.5"}']) > 0
