"""Nothing acknowledged is lost, whatever is killed."""

import threading
from collections.abc import Iterator

import httpx
import pytest

from dataplane.client import ApiError, Client, ClusterUnreachableError
from dataplane.client.local import LocalCluster
from tests.processes.conftest import wait_for, wait_ready


class Writers:
    """Threads that put documents and remember what was acknowledged."""

    def __init__(self, cluster: LocalCluster, count: int) -> None:
        self.acknowledged: dict[str, tuple[int, int]] = {}
        self._cluster = cluster
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,), daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        urls = self._cluster.urls
        turned = urls[number % len(urls) :] + urls[: number % len(urls)]
        with Client(turned, self._cluster.api_key, timeout_s=5) as client:
            for value in self._values():
                name = f"w{number}-{value % 20}"
                try:
                    stored = client.put("load", name, {"value": value})
                except (ApiError, ClusterUnreachableError):
                    continue
                with self._lock:
                    self.acknowledged[name] = (stored["_version"], value)

    def _values(self) -> Iterator[int]:
        value = 0
        while not self._stop.is_set():
            value += 1
            yield value

    @property
    def count(self) -> int:
        with self._lock:
            return sum(version for version, _ in self.acknowledged.values())

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)


def check_acknowledged(cluster: LocalCluster, writers: Writers) -> None:
    """Every acknowledged write is there, or a later one of the same writer."""
    with Client(cluster.urls, cluster.api_key) as client:
        stored = {document["_id"]: document for document in client.iterate("load")}
    assert writers.acknowledged
    for name, (version, value) in writers.acknowledged.items():
        document = stored[name]
        assert document["_version"] >= version, name
        assert document["value"] >= value, name


@pytest.mark.parametrize("count", [1, 3, 4])
def test_killing_all_nodes_at_once_under_load_loses_no_acknowledged_write(make_cluster, count):
    cluster = make_cluster(count)
    writers = Writers(cluster, 4)
    wait_for(lambda: writers.count >= 60, "60 acknowledged writes")
    cluster.kill()
    writers.stop()
    cluster.start()
    wait_ready(cluster)
    check_acknowledged(cluster, writers)


def test_a_killed_backup_changes_nothing_and_catches_up_in_a_quiet_cluster(make_cluster):
    cluster = make_cluster(4)
    writers = Writers(cluster, 2)
    wait_for(lambda: writers.count >= 20, "20 acknowledged writes")
    cluster.kill(3)
    before = writers.count
    wait_for(lambda: writers.count >= before + 20, "writes go on without node 3")
    writers.stop()
    cluster.start(3)
    headers = {"Authorization": f"Bearer {cluster.api_key}"}

    def lag() -> int | None:
        status = httpx.get(f"{cluster.urls[0]}/api/v1/nodes/status", headers=headers).json()
        return status["nodes"][3]["lag"] if status["nodes"][3]["reachable"] else None

    wait_for(lambda: lag() == 0, "node 3 caught up without any traffic")
    check_acknowledged(cluster, writers)
    name, (version, _) = next(iter(writers.acknowledged.items()))
    url = f"{cluster.urls[3]}/api/v1/collections/load/documents/{name}?consistency=local"
    assert httpx.get(url, headers=headers).json()["_version"] >= version


def test_without_a_quorum_writes_answer_no_quorum_and_happen_once_after_its_return(make_cluster):
    cluster = make_cluster(4)
    headers = {"Authorization": f"Bearer {cluster.api_key}", "Idempotency-Key": "only-once"}
    url = f"{cluster.urls[1]}/api/v1/collections/things/documents/counter"
    create = f"{cluster.urls[1]}/api/v1/collections/things/documents"
    cluster.kill(0, 3)
    refused = httpx.post(create, json={"n": 1}, headers=headers, timeout=30)
    assert refused.status_code == 503
    assert refused.json()["code"] == "no_quorum"
    assert refused.headers["Retry-After"]
    assert not cluster.is_ready(1)
    assert httpx.get(f"{url}?consistency=local", headers=headers).status_code == 404
    cluster.start(0)
    cluster.start(3)
    wait_ready(cluster)
    first = httpx.post(create, json={"n": 1}, headers=headers, timeout=30)
    again = httpx.post(
        f"{cluster.urls[2]}/api/v1/collections/things/documents",
        json={"n": 1},
        headers=headers,
        timeout=30,
    )
    assert first.status_code == again.status_code == 201
    assert first.json()["_id"] == again.json()["_id"]
    with Client(cluster.urls, cluster.api_key) as client:
        assert len(client.query("things")["documents"]) == 1


@pytest.mark.parametrize("count", [6, 7])
def test_larger_clusters_survive_the_crashes_they_promise(make_cluster, count):
    cluster = make_cluster(count)
    cluster.kill(count - 1, count - 2)
    with Client(cluster.urls, cluster.api_key) as client:
        client.put("things", "one", {"n": 1})
        assert client.get("things", "one")["n"] == 1


def test_a_terminated_node_ends_cleanly_and_keeps_its_data(make_cluster):
    cluster = make_cluster(1)
    with Client(cluster.urls, cluster.api_key) as client:
        client.put("things", "one", {"n": 1})
    assert cluster.stop() == [0]
    cluster.start()
    wait_ready(cluster)
    with Client(cluster.urls, cluster.api_key) as client:
        assert client.get("things", "one", consistency="local")["n"] == 1
