"""Feeds and transactions on real nodes: equal everywhere, whole, and never lost by a kill."""

import json
import threading
from collections import Counter

import httpx

from dataplane.client import ApiError, Client, ClusterUnreachableError
from dataplane.client.local import LocalCluster
from tests.processes.conftest import wait_ready

PAIRS = 8
LISTEN_S = 60.0


def feed_of(cluster: LocalCluster, index: int, last: str, after: str = "0") -> list[str]:
    """Return the lines of data of a node's feed, up to the event of the document `last`."""
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    lines: list[str] = []
    with httpx.stream(
        "GET",
        f"{cluster.urls[index]}/api/v1/changes",
        params={"after": after},
        headers=headers,
        timeout=LISTEN_S,
        trust_env=False,
    ) as response:
        assert response.status_code == 200
        for line in response.iter_lines():
            if line.startswith("data: "):
                lines.append(line)
                if json.loads(line[6:]).get("id") == last:
                    return lines
    raise AssertionError("the feed ended")


class Movers:
    """Threads that move one between two accounts by transactions, until they are stopped."""

    def __init__(self, cluster: LocalCluster, count: int) -> None:
        self._cluster = cluster
        self._stop = threading.Event()
        self.done = Counter[str]()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        urls = self._cluster.urls
        turned = urls[number % len(urls) :] + urls[: number % len(urls)]
        with Client(turned, self._cluster.api_key, timeout_s=5) as client:
            for turn in range(10**6):
                if self._stop.is_set():
                    return
                source = f"{(number + turn) % PAIRS}"
                try:
                    client.transact(
                        [
                            {"op": "check", "collection": "left", "id": source, "exists": True},
                            _add("left", source, -1),
                            _add("right", source, 1),
                            {"op": "create", "collection": "moves", "document": {"of": source}},
                        ]
                    )
                    self.done["moved"] += 1
                except (ApiError, ClusterUnreachableError):
                    self.done["unknown"] += 1

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)


def _add(collection: str, document_id: str, amount: int) -> dict[str, object]:
    change = {"$inc": {"n": amount}}
    return {"op": "update", "collection": collection, "id": document_id, "document": change}


def check_moves(lines: list[str], moved: int) -> None:
    """Every transaction is told as one, and left and right always add up to nothing."""
    left, right, moves = Counter[str](), Counter[str](), 0
    open_group: list[str] = []
    for line in lines:
        event = json.loads(line[6:])
        side = {"left": left, "right": right}.get(event["collection"])
        if side is not None:
            side[event["id"]] = event["document"]["n"]
        group = event.get("transaction")
        if group is None:
            assert not open_group
            continue
        open_group.append(event["collection"])
        assert event["position"] == group["first"] + len(open_group) - 1
        if len(open_group) == group["count"]:
            assert open_group == ["left", "right", "moves"]
            assert all(left[name] + right[name] == 0 for name in left)
            open_group, moves = [], moves + 1
    assert not open_group
    assert moves >= moved


def test_feeds_are_equal_and_transactions_whole_whatever_is_killed(make_cluster):
    cluster = make_cluster(4)
    with Client(cluster.urls, cluster.api_key) as client:
        for collection in ("left", "right"):
            for number in range(PAIRS):
                client.put(collection, f"{number}", {"n": 0})
        client.put("marks", "begin", {})
        movers = Movers(cluster, 3)
        followed: list[list[str]] = []
        listeners = [
            threading.Thread(target=lambda i=i: followed.append(feed_of(cluster, i, "end")))
            for i in (1, 2)
        ]
        for listener in listeners:
            listener.start()
        while movers.done["moved"] < 30:
            client.put("marks", "waiting", {"moved": movers.done["moved"]})
        cluster.kill(3)
        before = movers.done["moved"]
        while movers.done["moved"] < before + 20:
            client.put("marks", "waiting", {"moved": movers.done["moved"]})
        cluster.start(3)
        wait_ready(cluster, 3)
        movers.stop()
        client.put("marks", "end", {})
    for listener in listeners:
        listener.join()
    feeds = [feed_of(cluster, index, "end") for index in (0, 1, 2)]
    assert feeds[0] == feeds[1] == feeds[2] == followed[0] == followed[1]
    check_moves(feeds[0], movers.done["moved"])
    middle = json.loads(feeds[0][len(feeds[0]) // 2][6:])
    place = f"{middle['sequence']}-{middle['position']}"
    for index in range(4):
        # Also the node that was killed: it resumed from its own log, or from a copied state.
        try:
            rest = feed_of(cluster, index, "end", place)
        except AssertionError:
            assert index == 3
        else:
            assert rest == feeds[0][len(feeds[0]) // 2 + 1 :]
    cluster.kill()
    cluster.start()
    wait_ready(cluster)
    assert feed_of(cluster, 2, "end") == feeds[0]
