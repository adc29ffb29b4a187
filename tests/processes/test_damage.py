"""What a node does about a broken log, a full disk, a standstill, and exactly what survives."""

import os
import resource
import signal
import threading
from pathlib import Path

import httpx
import pytest

from dataplane.client import ApiError, Client, ClusterUnreachableError
from dataplane.client.local import LocalCluster
from dataplane.client.spec import load_spec
from tests.processes.conftest import wait_for, wait_ready

INCREMENT = "application/vnd.aerolith.update+json"


def headers_of(cluster: LocalCluster) -> dict[str, str]:
    return {"Authorization": f"Bearer {cluster.api_key}"}


def member(cluster: LocalCluster, seen_from: int, index: int) -> dict[str, object]:
    url = f"{cluster.urls[seen_from]}/api/v1/nodes/status"
    return httpx.get(url, headers=headers_of(cluster), timeout=10).json()["nodes"][index]


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


def test_a_damaged_log_keeps_the_node_out_and_the_others_at_work(make_cluster):
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
    cluster.start(2)
    assert exit_code(cluster, 2) == 4
    assert "node.cannot_run" in cluster.log(2)
    assert "damaged record" in cluster.log(2)
    with Client([cluster.urls[0]], cluster.api_key) as client:
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
