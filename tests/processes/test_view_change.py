"""Another node takes over when the primary is killed, stopped or restarted."""

import os
import signal

import httpx

from dataplane.client import Client
from tests.processes.conftest import wait_for, wait_ready
from tests.processes.test_durability import Writers, check_acknowledged


def views(cluster) -> list[int]:
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    found = []
    for url in cluster.urls:
        try:
            answer = httpx.get(f"{url}/api/v1/nodes/status", headers=headers, timeout=5)
            found.append(answer.json()["view"])
        except httpx.TransportError:
            continue
    return found


def test_a_killed_primary_is_replaced_and_nothing_acknowledged_is_lost(make_cluster):
    cluster = make_cluster(4)
    writers = Writers(cluster, 4)
    wait_for(lambda: writers.count >= 60, "60 acknowledged writes")
    cluster.kill(0)
    before = writers.count
    wait_for(lambda: writers.count >= before + 60, "writes go on under another primary")
    writers.stop()
    check_acknowledged(cluster, writers)
    assert min(views(cluster)) >= 1
    cluster.start(0)
    wait_ready(cluster)
    wait_for(lambda: len(set(views(cluster))) == 1, "the old primary follows into the new view")
    with Client(cluster.urls[:1], cluster.api_key) as client:
        client.put("load", "after", {"value": 1})


def test_primaries_killed_one_after_the_other_lose_nothing(make_cluster):
    cluster = make_cluster(4)
    writers = Writers(cluster, 3)
    for primary in (0, 1, 2):
        before = writers.count
        wait_for(lambda before=before: writers.count >= before + 20, "writes are accepted")
        cluster.kill(primary)
        before = writers.count
        wait_for(lambda before=before: writers.count >= before + 20, "the next primary leads")
        cluster.start(primary)
        wait_ready(cluster)
    writers.stop()
    check_acknowledged(cluster, writers)


def test_a_stopped_primary_is_replaced_and_follows_when_it_wakes(make_cluster):
    cluster = make_cluster(4)
    writers = Writers(cluster, 2)
    wait_for(lambda: writers.count >= 20, "20 acknowledged writes")
    os.kill(cluster.processes[0].pid, signal.SIGSTOP)
    try:
        before = writers.count
        wait_for(lambda: writers.count >= before + 20, "writes go on without the stopped primary")
    finally:
        os.kill(cluster.processes[0].pid, signal.SIGCONT)
    wait_ready(cluster)
    writers.stop()
    check_acknowledged(cluster, writers)
