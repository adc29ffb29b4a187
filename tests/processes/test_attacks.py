"""What one real node can do wrong: the others go on, refuse it, and say what they refused."""

import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from dataplane.client import Client
from dataplane.client.local import LocalCluster
from tests.processes.conftest import wait_for, wait_ready

ROOT = Path(__file__).resolve().parents[2]
LIE_MS = 5_000
"""For so long a liar lies: longer than a node takes to start on a busy machine."""


@pytest.fixture
def make(tmp_path):
    made: list[LocalCluster] = []

    def build(liars: dict[int, str], count: int = 4) -> LocalCluster:
        cluster = LocalCluster(tmp_path / "cluster", count, liars=liars)
        made.append(cluster)
        cluster.start()
        wait_ready(cluster, *honest(cluster))
        return cluster

    yield build
    for cluster in made:
        cluster.kill()


def honest(cluster: LocalCluster) -> list[int]:
    return [index for index in range(len(cluster.members)) if index not in cluster.liars]


def ask(cluster: LocalCluster, index: int, path: str) -> dict:
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    url = f"{cluster.urls[index]}/api/v1/{path}"
    return httpx.get(url, headers=headers, timeout=10, trust_env=False).json()


def reasons(cluster: LocalCluster, index: int, sender: int) -> set[tuple[str, str]]:
    counts = ask(cluster, index, "nodes/rejections")["counts"]
    return {(c["kind"], c["reason"]) for c in counts if c["sender"] == sender}


def write_and_read(cluster: LocalCluster, count: int) -> None:
    """Write through every honest gateway in turn, and read it back through the next one."""
    urls = [cluster.urls[index] for index in honest(cluster)]
    clients = [Client([url], cluster.api_key, timeout_s=20) for url in urls]
    try:
        for turn in range(count):
            writer, reader = clients[turn % len(clients)], clients[(turn + 1) % len(clients)]
            writer.put("things", f"d{turn % 5}", {"turn": turn})
            assert reader.get("things", f"d{turn % 5}")["turn"] == turn
            assert reader.get("things", f"d{turn % 5}", consistency="bounded")["turn"] <= turn
    finally:
        for client in clients:
            client.close()


def agree(cluster: LocalCluster) -> bool:
    """Whether honest nodes had the same root at the last checkpoint that all of them reached."""
    found = [
        {c["sequence"]: c["root"] for c in ask(cluster, index, "nodes/status")["checkpoints"]}
        for index in honest(cluster)
    ]
    common = set.intersection(*map(set, found))
    return bool(common) and len({roots[max(common)] for roots in found}) == 1


@pytest.mark.parametrize(
    ("liar", "behaviour", "seen"),
    [
        (0, "equivocate", None),
        (1, "equivocate", None),
        (1, "forge_replies", ("Replies", "differs")),
        (0, "clock_skew", ("PrePrepare", "time_in_future")),
        (0, "delay", None),
        (0, "drop", None),
    ],
)
def test_one_node_that_goes_wrong_harms_nothing(make, liar, behaviour, seen):
    cluster = make({liar: behaviour})
    write_and_read(cluster, 140)
    wait_for(lambda: agree(cluster), "the honest nodes reach a checkpoint")
    if seen is not None:
        wait_for(
            lambda: any(seen in reasons(cluster, index, liar) for index in honest(cluster)),
            lambda: f"{[reasons(cluster, i, liar) for i in honest(cluster)]} has {seen}",
        )
    if behaviour == "equivocate":
        for index in honest(cluster):
            wait_for(
                lambda index=index: ask(cluster, index, "evidence")["count"] > 0,
                f"node {index} has a proof",
            )
    for index in honest(cluster):
        for other in honest(cluster):
            assert reasons(cluster, index, other) == set(), "nobody honest is refused"


def test_a_node_with_stale_reads_shows_old_documents_itself_and_fools_nobody_else(make):
    cluster = make({2: "stale_reads"})
    with Client([cluster.urls[0]], cluster.api_key) as client:
        client.put("things", "a", {"n": 1})
    # Not by asking for the document: it would for ever be shown as it was then, absent.
    written = ask(cluster, 0, "nodes/status")["sequence"]
    wait_for(lambda: _sequence(cluster, 2) >= written, "node 2 executed it")
    assert _local(cluster, 2) == 1
    with Client([cluster.urls[0]], cluster.api_key) as client:
        client.put("things", "a", {"n": 2})
    wait_for(lambda: _local(cluster, 3) == 2, "node 3 executed it")
    wait_for(lambda: ask(cluster, 2, "nodes/status")["behind"] == 0, "node 2 executed it too")
    assert _local(cluster, 2) == 1
    for index in (0, 1, 3):
        with Client([cluster.urls[index]], cluster.api_key) as client:
            for _ in range(10):
                assert client.get("things", "a", consistency="bounded")["n"] == 2
            assert client.get("things", "a")["n"] == 2


def _sequence(cluster: LocalCluster, index: int) -> int:
    try:
        return ask(cluster, index, "nodes/status")["sequence"]
    except httpx.ConnectError:
        return -1  # Only the honest nodes are waited for; this one may still be starting.


def _local(cluster: LocalCluster, index: int) -> int | None:
    found = ask(cluster, index, "collections/things/documents/a?consistency=local")
    return found.get("n")


def test_a_corrupted_document_is_found_and_repaired(make):
    cluster = make({})
    with Client([cluster.urls[0]], cluster.api_key) as client:
        client.put("things", "the last one", {"text": "sound"})
    # Up to a checkpoint: of rows changed since, only the next one tells that they are damaged.
    write_and_read(cluster, 140)
    cluster.kill(3)
    cluster.liars[3] = "corrupt_document"
    cluster.start(3)
    wait_ready(cluster, 0, 1, 2)
    wait_for(lambda: "state_damaged" in cluster.log(3), "the damage is found")
    wait_for(lambda: "repaired" in cluster.log(3), "the damage is repaired")
    wait_ready(cluster, 3)
    found = ask(cluster, 3, "collections/things/documents/the%20last%20one?consistency=local")
    assert found["text"] == "sound"
    cluster.liars.clear()
    write_and_read(cluster, 10)
    assert ask(cluster, 3, "nodes/rejections")["alarms"]["state_damaged"] == 1


def test_a_liar_whose_time_is_over_is_a_node_like_any_other(make):
    cluster = make({})
    cluster.kill(2)
    until_ms = int(time.time() * 1000) + LIE_MS
    program = ["-m", "dataplane.simulation.byzantine.node", "--behaviour", "delay"]
    command = [sys.executable, *program, "--until-ms", str(until_ms), "--spec"]
    ended = subprocess.run([*command, str(cluster.specs[2])], cwd=ROOT, timeout=30, check=False)
    assert ended.returncode == 0
    assert time.time() * 1000 >= until_ms
    cluster.processes[2] = subprocess.Popen([*command, str(cluster.specs[2])], cwd=ROOT)
    wait_ready(cluster)
    write_and_read(cluster, 5)
