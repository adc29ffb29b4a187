"""Real nodes on a network that is cut, and healed."""

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
"""Well above the ten seconds promised: these machines are shared."""


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
        wait_for(lambda node=node: not api.ready(node), f"node {node} is cut off")


def wait_together(cluster: LocalCluster, api: Api) -> None:
    """Wait until every node is ready and has executed the same."""

    def together() -> bool:
        nodes = range(len(cluster.members))
        if not all(api.ready(node) for node in nodes):
            return False
        return len({api.status(node)["sequence"] for node in nodes}) == 1

    wait_for(together, lambda: f"one sequence {[api.status(0)]}", HEAL_S)


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


def test_of_six_nodes_split_in_four_and_two_the_four_go_on_and_the_two_refuse(make_networked):
    cluster, network = make_networked(6)
    api = Api(cluster)
    before = api.put(4, "one", 1)
    assert before.status_code == 201
    network.split([0, 1, 2, 3], [4, 5])
    wait_cut_off(api, [4, 5])
    for value, node in enumerate((0, 1, 2, 3), start=2):
        assert api.put(node, "one", value).status_code == 200
    for node in (4, 5):
        refused = api.put(node, "one", 99)
        assert refused.status_code == 503
        assert refused.json()["code"] == "no_quorum"
        assert refused.headers["Retry-After"]
        assert api.get(node, "one", "strong").status_code == 503
        assert api.get(node, "one", "local").json()["value"] == 1
    network.heal()
    wait_together(cluster, api)
    for node in range(6):
        assert api.get(node, "one", "local").json()["value"] == 5
    assert api.put(5, "one", 6).status_code == 200
    wait_together(cluster, api)
    assert len(roots_when_stopped(cluster)) == 1
