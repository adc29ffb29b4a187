"""The collector against real nodes: figures each second, dead nodes noticed, no task left."""

import asyncio
from contextlib import asynccontextmanager
from uuid import UUID

import httpx
import pytest
from msgspec import structs

from dataplane.client.aio import AsyncClient
from dataplane.client.local import LocalCluster
from portal.core import clock
from portal.monitoring.collector import Collector, Ports
from portal.monitoring.types import NodeAddress, Target

CLUSTER = UUID(int=9)
DEADLINE_S = 40.0


@pytest.fixture
def nodes(tmp_path):
    cluster = LocalCluster(tmp_path, 4)
    cluster.start()
    yield cluster
    if cluster.processes:
        cluster.kill()


class Seen:
    """What the collector hands on."""

    def __init__(self, targets):
        self.targets = targets
        self.frames = []
        self.samples = []

    async def discover(self):
        return self.targets

    async def publish(self, target, frame):
        self.frames.append(frame)

    async def store(self, target, frames, at):
        self.samples.append((list(frames), at))

    async def maintain(self):
        return None

    def ports(self):
        return Ports(
            discover=self.discover,
            publish=self.publish,
            store=self.store,
            maintain=self.maintain,
            now=clock.now,
        )

    async def until(self, condition):
        await eventually(lambda: self.frames and condition(self.frames[-1]))
        return self.frames[-1]


def target_of(cluster, token=None):
    return Target(
        schema="org_x",
        cluster_id=CLUSTER,
        token=token or cluster.api_key,
        nodes=tuple(NodeAddress(i, url) for i, url in enumerate(cluster.urls)),
    )


@asynccontextmanager
async def collecting(seen, on_response=None):
    hooks = {"response": [on_response] if on_response else []}
    async with httpx.AsyncClient(trust_env=False, event_hooks=hooks) as http:
        collector = Collector(seen.ports(), http)
        async with asyncio.TaskGroup() as group:
            group.create_task(collector.run())
            try:
                yield collector
            finally:
                collector.stop()


async def test_frames_follow_the_nodes(nodes):
    seen = Seen([target_of(nodes)])
    async with collecting(seen) as collector:
        first = await seen.until(lambda f: f["status"] == "ok")
        assert (first["f"], first["quorum"], first["ready_count"]) == (1, 3, 4)
        assert collector.watched == {CLUSTER}
        async with AsyncClient(nodes.urls, nodes.api_key) as client:
            for number in range(20):
                await client.put("things", str(number), {"n": number})
        busy = await seen.until(lambda f: f["documents"] == 20)
        assert busy["sequence"] > first["sequence"]
        assert any(frame["throughput"]["total"] > 0 for frame in seen.frames)
        nodes.kill(3)
        down = await seen.until(lambda f: f["nodes"][3]["health"] == "down")
        assert down["status"] == "degraded"
        assert [n["health"] for n in down["nodes"][:3]] == ["up", "up", "up"]
        nodes.start(3)
        await seen.until(lambda f: f["status"] == "ok")
        assert seen.samples
        seen.targets = []
        await eventually(lambda: not collector.watched)
    spans = [len(frames) for frames, _ in seen.samples]
    assert max(spans) <= 10


async def eventually(condition):
    """Look until it is so, or fail at the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 -- What is waited for happens in processes.
            await asyncio.sleep(0.05)


async def polled(counts, index):
    """Wait until another eight answers came."""
    goal = counts[index] + 8
    await eventually(lambda: counts[index] >= goal)


async def test_a_wrong_key_and_a_stranger_at_the_address_give_no_frames(nodes):
    urls = nodes.urls
    swapped = Target(
        schema="org_x",
        cluster_id=CLUSTER,
        token=nodes.api_key,
        nodes=(NodeAddress(1, urls[0]), NodeAddress(0, urls[1])),
    )
    seen = Seen([swapped])
    await eventually(lambda: all(nodes.is_ready(i) for i in range(4)))
    statuses = {200: 0, 401: 0}

    async def count(response):
        statuses[response.status_code] += 1

    async with collecting(seen, count):
        await polled(statuses, 200)
        seen.targets = [target_of(nodes, token="adk_wrong_key")]
        await polled(statuses, 401)
    assert seen.frames == []


async def test_a_change_of_primary_and_of_members_is_followed(nodes):
    seen = Seen([target_of(nodes)])
    async with collecting(seen):
        await seen.until(lambda f: f["status"] == "ok" and f["primary"] == 0)
        nodes.kill(0)
        led = await seen.until(lambda f: f["primary"] == 1 and f["nodes"][1]["role"] == "primary")
        assert led["nodes"][0]["role"] == "backup"
        added = await asyncio.to_thread(nodes.add_learner)
        learner = NodeAddress(added, nodes.nodes[added].url, is_learner=True)
        members = tuple(NodeAddress(m.id, m.url) for m in nodes.members)
        seen.targets = [structs.replace(target_of(nodes), nodes=(*members, learner))]
        learning = await seen.until(lambda f: f["nodes"][-1]["health"] == "learning")
        assert learning["member_count"] == 4
        await seen.until(lambda f: f["nodes"][-1]["lag"] == 0)
        before = len(seen.frames)
        await asyncio.to_thread(nodes.reconfigure, 1, 2, 3, added)
        members = tuple(NodeAddress(m.id, m.url) for m in nodes.members)
        seen.targets = [structs.replace(target_of(nodes), nodes=members)]
        done = await seen.until(lambda f: [n["id"] for n in f["nodes"]] == [1, 2, 3, 4])
        # Those that stayed were not asked anew: their figures go on.
        assert {n["health"] for n in done["nodes"]} & {"stale", "down"} == set()
        await seen.until(lambda f: f["status"] == "ok")
        assert len(seen.frames) > before
