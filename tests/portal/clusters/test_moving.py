"""What a cluster tells of a change of members that waits for cold documents."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from dataplane.client import Client, NotReadyError
from dataplane.client.local import LocalCluster
from dataplane.client.spec import load_spec
from dataplane.storage.engine import RocksStore
from dataplane.storage.fragments import FRAGMENT
from portal.clusters.operations.changing import _is_held_up
from portal.clusters.operations.observation import Moving, moving
from tests.portal.clusters.lives import until

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(tmp_path):
    made = LocalCluster(tmp_path, 1)
    made.start()
    until(lambda: made.is_ready(0))
    yield made
    made.kill()


def lose_fragments(cluster: LocalCluster) -> None:
    """Let nobody be able to read what is cold, so that a change waits for as long as one looks."""
    cluster.kill(0)
    store = RocksStore(Path(load_spec(cluster.specs[0]).data_dir) / "state")
    rows = dict(store.iterate(FRAGMENT))
    assert rows
    store.write(dict.fromkeys(rows))
    store.close()
    cluster.start(0)
    until(lambda: cluster.is_ready(0))


def test_enough_members_say_for_how_many_segments_a_change_waits(cluster):
    node = SimpleNamespace(url=cluster.urls[0], index=0)
    with Client(cluster.urls, cluster.api_key) as client:
        client.collection_put("c", {"tiering": {"cold_after_s": 1}})
        client.put("c", "d", {"text": "x" * 200})
        until(lambda: client.stats()["segments"]["total"] == 1)
    lose_fragments(cluster)
    assert moving([node], cluster.api_key) is None, "nobody asked for a change"
    added = cluster.add_learner()

    with pytest.raises(NotReadyError) as refused:
        cluster.reconfigure(added, timeout_s=5)

    assert _is_held_up(refused.value)
    assert moving([node], cluster.api_key) == Moving(waiting=1, segments=1)
    away = SimpleNamespace(url="http://127.0.0.1:9", index=1)
    assert moving([node, node, away, away], cluster.api_key) == Moving(1, 1)
    assert moving([node, away, away, away], cluster.api_key) is None, "one of four may lie"
