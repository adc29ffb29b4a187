"""Real nodes on a network that is cut, and healed."""

import time
from collections.abc import Iterable
from pathlib import Path

import httpx
import pytest

from dataplane.client.local import LocalCluster
from dataplane.client.spec import load_spec
from dataplane.documents.state import StateMachine
from dataplane.documents.types import Genesis
from dataplane.storage.directory import DataDirectory
from dataplane.storage.engine import RocksStore
from tests.network_proxy import Network
from tests.processes.conftest import wait_for, wait_ready

HEAL_S = 20.0
"""Above the ten seconds promised: these machines are shared."""
QUIET_S = 1.5
REFUSAL_S = 2.0
SPLITS = [([0, 1, 2, 3], [4, 5]), ([2, 3, 4, 5], [0, 1])]
"""(those with a quorum, the others); the primary of view 0 is node 0."""


@pytest.fixture
def make_networked(tmp_path: Path):
    made: list[tuple[LocalCluster, Network]] = []

    def make(count: int) -> tuple[LocalCluster, Network]:
        cluster = LocalCluster(tmp_path / f"cluster-{len(made)}", count)
        network = Network(cluster)
        made.append((cluster, network))
        cluster.start()
        wait_ready(cluster)
        return cluster, network

    yield make
    for cluster, network in made:
        cluster.kill()
        network.close()


class Api:
    """Plain requests to one node of the cluster, no repetition, no other node."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._urls = cluster.urls
        headers = {"Authorization": f"Bearer {cluster.api_key}"}
        self._http = httpx.Client(headers=headers, timeout=30, trust_env=False)

    def put(self, node: int, name: str, value: int) -> httpx.Response:
        return self._http.put(self._document(node, name), json={"value": value})

    def get(self, node: int, name: str, consistency: str, **headers: str) -> httpx.Response:
        url = f"{self._document(node, name)}?consistency={consistency}"
        return self._http.get(url, headers=headers)

    def status(self, node: int) -> dict:
        return self._http.get(f"{self._urls[node]}/api/v1/nodes/status").json()

    def metrics(self, node: int) -> dict[str, float]:
        lines = self._http.get(f"{self._urls[node]}/metrics").text.splitlines()
        pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
        return {name: float(value) for name, value in pairs}

    def ready(self, node: int) -> bool:
        return self._http.get(f"{self._urls[node]}/ready").is_success

    def _document(self, node: int, name: str) -> str:
        return f"{self._urls[node]}/api/v1/collections/things/documents/{name}"


def wait_cut_off(api: Api, nodes: Iterable[int]) -> None:
    for node in nodes:
        wait_for(
            lambda node=node: api.status(node)["partition"]["cut_off"], f"node {node} is cut off"
        )
        assert not api.ready(node)


def wait_together(cluster: LocalCluster, api: Api) -> None:
    """Wait until every node is ready and all have executed the same for a while.

    Calls are reported to the cluster within a second, which moves the sequence once more.
    """
    nodes = range(len(cluster.members))
    settled: list[tuple[set[int], float]] = [(set(), time.monotonic())]

    def together() -> bool:
        sequences = {api.status(node)["sequence"] for node in nodes}
        if sequences != settled[0][0]:
            settled[0] = sequences, time.monotonic()
        is_quiet = time.monotonic() - settled[0][1] > QUIET_S
        return is_quiet and len(sequences) == 1 and all(map(api.ready, nodes))

    wait_for(together, lambda: f"one sequence, not {settled[0][0]}", HEAL_S)


def check_refuses(api: Api, node: int, name: str, known: int) -> None:
    """The node refuses at once what needs a quorum, and serves what it has, marked as old."""
    began = time.monotonic()
    for refused in (api.put(node, name, 99), api.get(node, name, "strong")):
        assert refused.status_code == 503
        assert refused.json()["code"] == "no_quorum"
        assert "members; a quorum is 4" in refused.json()["detail"]
        assert refused.headers["Retry-After"] == "1"
    beyond = {"Aerolith-After": str(api.status(node)["sequence"] + 1)}
    late = api.get(node, name, "session", **beyond)
    assert (late.status_code, late.json()["code"]) == (503, "not_ready")
    assert time.monotonic() - began < REFUSAL_S
    for consistency in ("local", "session"):
        answer = api.get(node, name, consistency)
        assert answer.json()["value"] == known
        assert answer.headers["Aerolith-Stale"] == "true"
        assert int(answer.headers["Aerolith-Staleness-Ms"]) > 1_000


def roots_when_stopped(cluster: LocalCluster) -> set[tuple[int, bytes]]:
    """Stop the nodes and return the positions and roots of their states."""
    cluster.stop()
    found = set()
    for path in cluster.specs:
        directory = DataDirectory(Path(load_spec(path).data_dir))
        store = RocksStore(directory.state_path)
        machine = StateMachine(store, Genesis())
        found.add((machine.applied, machine.root()))
        store.close()
        directory.close()
    return found


@pytest.mark.parametrize("split", SPLITS, ids=str)
@pytest.mark.parametrize("drop", [False, True], ids=["cut", "drop"])
def test_of_six_nodes_split_in_four_and_two_the_four_go_on_and_the_two_refuse(
    make_networked, split, drop
):
    cluster, network = make_networked(6)
    api = Api(cluster)
    many, few = split
    assert api.put(few[0], "one", 1).status_code == 201
    fresh = api.get(few[0], "one", "local")
    assert "Aerolith-Stale" not in fresh.headers
    assert int(fresh.headers["Aerolith-Staleness-Ms"]) < 3_000
    # Who never met the others yet cannot lose them.
    wait_together(cluster, api)
    network.split(many, few, drop=drop)
    wait_cut_off(api, few)
    for value, node in enumerate(many, start=2):
        assert api.put(node, "one", value).status_code == 200
        assert api.status(node)["partition"]["unreachable"] == few
    for node in few:
        check_refuses(api, node, "one", 1)
    network.heal()
    wait_together(cluster, api)
    for node in range(6):
        assert api.get(node, "one", "local").json()["value"] == 5
    for node in few:
        metrics, partition = api.metrics(node), api.status(node)["partition"]
        assert metrics["aerolith_quorum_lost_total"] == metrics["aerolith_rejoined_total"] == 1
        assert 0 <= partition["last_recovery_ms"] < partition["last_outage_ms"]
    assert api.metrics(many[0])["aerolith_quorum_lost_total"] == 0
    assert api.metrics(many[0])["aerolith_partitions_suspected_total"] >= 1
    assert api.put(few[1], "one", 6).status_code == 200
    wait_together(cluster, api)
    assert len(roots_when_stopped(cluster)) == 1


def test_of_six_nodes_split_in_halves_nobody_writes_and_all_go_on_when_healed(make_networked):
    cluster, network = make_networked(6)
    api = Api(cluster)
    assert api.put(0, "one", 1).status_code == 201
    wait_together(cluster, api)
    network.split([0, 1, 2], [3, 4, 5])
    wait_cut_off(api, range(6))
    for node in range(6):
        check_refuses(api, node, "one", 1)
    network.heal()
    wait_together(cluster, api)
    for value, node in enumerate(range(6), start=2):
        assert api.put(node, "one", value).status_code == 200
    wait_together(cluster, api)
    assert len(roots_when_stopped(cluster)) == 1


def test_a_node_that_hears_but_is_not_heard_stops_and_comes_back(make_networked):
    cluster, network = make_networked(6)
    api = Api(cluster)
    assert api.put(5, "one", 1).status_code == 201
    network.change([(5, other) for other in range(5)], cut=True)
    wait_cut_off(api, [5])
    for value, node in enumerate(range(5), start=2):
        assert api.put(node, "one", value).status_code == 200
    assert api.put(5, "one", 99).status_code == 503
    network.heal()
    wait_together(cluster, api)
    assert api.get(5, "one", "local").json()["value"] == 6
    assert len(roots_when_stopped(cluster)) == 1


def test_slow_links_lose_no_quorum(make_networked):
    cluster, network = make_networked(4)
    api = Api(cluster)
    network.change(network.directions, delay_s=0.1)
    began = time.monotonic()
    assert api.put(2, "one", 1).status_code == 201
    assert time.monotonic() - began > 0.3, "three messages in a row"
    network.heal()
    wait_together(cluster, api)
    assert api.metrics(2)["aerolith_quorum_lost_total"] == 0
    assert len(roots_when_stopped(cluster)) == 1
