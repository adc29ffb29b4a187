"""Watching an experiment: honest nodes are believed, each thing is told once, clients count."""

import asyncio
import json
from uuid import uuid4

import httpx
import pytest

from portal.clusters.chaos.recording import Happening
from portal.clusters.constants import CHAOS_COLLECTION, SAMPLE
from portal.core import clock
from portal.monitoring.experiments import watching
from portal.monitoring.experiments.findings import (
    PER_SECOND_MAX,
    Ledger,
    happenings,
    leader_of,
    verdict_of,
)
from portal.monitoring.experiments.probing import DOCUMENTS, TICK_EVERY, Probe
from portal.monitoring.experiments.types import (
    Checkpoint,
    Counted,
    ExperimentTarget,
    NodeFigures,
    NodeRejections,
    NodeStanding,
    Peer,
    Seen,
)
from portal.monitoring.experiments.watching import ExperimentWatcher, WatchPorts, sample_of
from portal.monitoring.types import NodeAddress

TARGET = ExperimentTarget(
    schema="org_x",
    cluster_id=uuid4(),
    experiment_id=uuid4(),
    token="adk_key",
    nodes=tuple(NodeAddress(index, f"http://node-{index}") for index in range(4)),
    broken={3: "equivocate"},
)


def seen(index: int, *, view=0, roots=None, counts=(), alarms=None, proofs=0, away=()) -> Seen:
    return Seen(
        NodeStanding(
            view=view,
            primary=view % 4,
            sequence=10,
            nodes=tuple(Peer(i, i not in away, proofs if i == 3 else 0) for i in range(4)),
            checkpoints=tuple(Checkpoint(s, r) for s, r in (roots or {}).items()),
        ),
        NodeRejections(index, 0, (), tuple(counts), alarms or {}),
        NodeFigures(index, ready=True),
    )


def told(ledger: Ledger, **nodes: Seen) -> list[Happening]:
    return happenings(TARGET, {int(name[1:]): one for name, one in nodes.items()}, ledger)


def everybody(**options) -> dict[str, Seen]:
    return {f"n{index}": seen(index, **options) for index in range(4)}


# --- What there is to tell ---------------------------------------------------------------------


def test_what_was_before_the_experiment_is_not_told():
    ledger, old = Ledger(), [Counted(3, "Commit", "unverified", 7)]
    assert told(ledger, **everybody(counts=old, proofs=2, alarms={"repaired": 1})) == []
    assert told(ledger, **everybody(counts=old, proofs=2, alarms={"repaired": 1})) == []


def test_what_honest_nodes_refuse_is_told_once_and_together():
    ledger = Ledger()
    told(ledger, **everybody())
    nodes = everybody()
    nodes["n0"] = seen(0, counts=[Counted(3, "Commit", "unverified", 5)])
    nodes["n1"] = seen(1, counts=[Counted(3, "Commit", "unverified", 2)])
    # A liar accuses: nobody listens.
    nodes["n3"] = seen(3, counts=[Counted(0, "Commit", "unverified", 99)], proofs=4)
    (found,) = told(ledger, **nodes)
    assert (found.kind, found.about) == ("rejected", 3)
    assert found.facts == {
        "nodes": [0, 1],
        "message": "Commit",
        "reason": "unverified",
        "count": 7,
    }
    assert told(ledger, **nodes) == []
    # It began anew, and counts from nothing.
    nodes["n0"] = seen(0, counts=[Counted(3, "Commit", "unverified", 2)])
    assert [h.facts["count"] for h in told(ledger, **nodes)] == [2]


def test_a_flood_is_cut_to_what_one_can_read():
    ledger = Ledger()
    told(ledger, **everybody())
    many = [Counted(3, f"K{n}", "unverified", n + 1) for n in range(100)]
    found = told(ledger, **everybody(counts=many))
    assert len(found) == PER_SECOND_MAX
    assert found[0].facts["message"] == "K99"


def test_proofs_views_links_and_silence_are_told():
    ledger = Ledger()
    told(ledger, **everybody())
    nodes = everybody(view=1, proofs=2, away=(2,))
    del nodes["n2"]
    found = {h.kind: h for h in told(ledger, **nodes)}
    assert set(found) == {"proof", "view", "lost", "silent"}
    assert found["proof"].facts == {"nodes": [0, 1], "count": 2}
    assert found["view"].facts == {"view": 1, "primary": 1, "before": 0}
    assert found["silent"].about == 2
    again = {h.kind for h in told(ledger, **everybody(view=1, proofs=2))}
    assert again == {"answers", "found", "proof"}, "node 2 tells of its own"


def test_a_broken_node_is_heard_about_its_own_health_only():
    ledger = Ledger()
    told(ledger, **everybody())
    nodes = everybody()
    nodes["n3"] = seen(3, view=9, alarms={"state_damaged": 1}, roots={128: "f" * 64})
    (found,) = told(ledger, **nodes)
    assert (found.kind, found.node) == ("alarm", 3)
    assert found.facts == {"code": "state_damaged", "count": 1}


def test_roots_are_compared_at_the_last_checkpoint_that_all_honest_nodes_reached():
    a, b = {128: "aa", 256: "bb"}, {128: "aa"}
    assert verdict_of({0: seen(0, roots=a), 1: seen(1, roots=b)}) == (128, True)
    assert verdict_of({0: seen(0, roots=a), 1: seen(1, roots={256: "xx"})}) == (256, False)
    assert verdict_of({0: seen(0, roots=a), 1: seen(1)}) is None
    assert verdict_of({}) is None
    assert leader_of({}) is None
    assert leader_of({0: seen(0, view=4), 1: seen(1, view=4), 2: seen(2, view=5)}) == (4, 0)
    ledger = Ledger()
    assert [h.facts for h in told(ledger, **everybody(roots=a))] == [
        {"sequence": 256, "equal": True}
    ]
    assert told(ledger, **everybody(roots=a)) == []
    nodes = everybody(roots=a)
    nodes["n0"] = seen(0, roots={128: "aa", 256: "other"})
    assert [h.facts["equal"] for h in told(ledger, **nodes)] == [False]


# --- The probe ---------------------------------------------------------------------------------


class Gateways:
    """A cluster as its clients see it; `lie` changes what a read answers."""

    def __init__(self) -> None:
        self.documents: dict[str, int] = {}
        self.asked: list[tuple[str, str, str]] = []
        self.lie = lambda consistency, n: n
        self.shows = lambda document, held: {"n": held}
        self.is_down = False

    def answer(self, request: httpx.Request) -> httpx.Response:
        place = request.url.path
        consistency = request.url.params.get("consistency", "")
        self.asked.append((request.url.host, request.method, consistency))
        assert request.headers["authorization"] == "Bearer adk_key"
        if self.is_down:
            return httpx.Response(503, json={"code": "no_quorum"})
        if request.method == "PUT":
            self.documents[place] = json.loads(request.content)["n"]
            return httpx.Response(200, json={})
        if place not in self.documents:
            return httpx.Response(404, json={})
        held = self.documents[place]
        if consistency == "local":
            return httpx.Response(200, json=self.shows(place.rpartition("/")[2], held))
        return httpx.Response(200, json={"n": self.lie(consistency, held)})


async def probe(gateways: Gateways, count: int, target=TARGET):
    async with httpx.AsyncClient(transport=httpx.MockTransport(gateways.answer)) as http:
        made = Probe(target, http)
        for _ in range(count):
            await made.once()
        return made.take(), made.take()[0]


async def test_the_probe_asks_honest_gateways_in_turn_and_reads_through_another_one():
    gateways = Gateways()
    (tally, notes), empty = await probe(gateways, 3)
    assert (tally.ok, tally.reads_ok, tally.failed, tally.wrong) == (3, 6, 0, 0)
    assert notes == []
    assert tally.slowest_ms is not None
    assert (empty.ok, empty.slowest_ms) == (0, None)
    hosts = [host for host, _, _ in gateways.asked]
    assert "node-3" not in hosts
    assert {host for host, method, _ in gateways.asked if method == "PUT"} == {
        "node-0",
        "node-1",
        "node-2",
    }
    for begin in range(0, len(hosts), 3):
        assert hosts[begin] != hosts[begin + 1]


@pytest.mark.parametrize(
    ("lie", "wrong"),
    [
        (lambda consistency, n: n + 1, 2),
        (lambda consistency, n: n - 1, 2),
        (lambda consistency, n: n - DOCUMENTS, 2),
        (lambda consistency, n: "forged", 2),
    ],
)
async def test_what_was_acknowledged_must_be_read(lie, wrong):
    gateways = Gateways()
    gateways.lie = lie
    (tally, _), _ = await probe(gateways, 1)
    assert (tally.ok, tally.wrong) == (1, wrong)


async def test_a_bounded_read_may_be_old_and_a_strong_one_may_not():
    gateways = Gateways()
    gateways.lie = lambda consistency, n: n - DOCUMENTS if consistency == "bounded" else n
    (tally, _), _ = await probe(gateways, DOCUMENTS + 1)
    # The last two have a past; every fourth is the tick's, which no strong read asks for.
    assert tally.wrong == DOCUMENTS - 1
    gateways.lie = lambda consistency, n: n - DOCUMENTS if consistency == "strong" else n
    (tally, _), _ = await probe(gateways, DOCUMENTS + 1)
    assert tally.wrong == DOCUMENTS + 1 - DOCUMENTS // TICK_EVERY


async def test_what_a_broken_node_shows_by_itself_is_told_once_and_counts_for_nothing():
    gateways = Gateways()
    gateways.documents[f"/api/v1/collections/{CHAOS_COLLECTION}/documents/{SAMPLE}"] = 0

    def shows(document, held):
        return {"n": 4} if document == "tick" else {"text": "every node has thir"}

    gateways.shows = shows
    (tally, notes), _ = await probe(gateways, 12)
    assert (tally.ok, tally.wrong) == (12, 0)
    assert [(n.kind, n.about, n.facts["shown"]) for n in notes] == [
        ("changed", 3, "every node has thir"),
        ("stale", 3, 4),
    ]
    assert {host for host, _, consistency in gateways.asked if consistency == "local"} == {"node-3"}


async def test_a_cluster_that_refuses_is_counted_and_one_without_honest_nodes_not_asked():
    gateways = Gateways()
    gateways.is_down = True
    (tally, _), _ = await probe(gateways, 2)
    assert (tally.ok, tally.failed, tally.reads_ok) == (0, 2, 0)
    nobody = ExperimentTarget(
        "org_x", uuid4(), uuid4(), "adk_key", TARGET.nodes, dict.fromkeys(range(4), "crash")
    )
    gateways.asked.clear()
    await probe(gateways, 2, nobody)
    assert gateways.asked == []


# --- The watch ---------------------------------------------------------------------------------


def test_a_sample_says_of_each_node_what_it_does_and_how_it_is():
    from portal.monitoring.experiments.probing import Tally

    nodes = {0: seen(0, roots={128: "aa"}), 3: seen(3, view=7)}
    sample = sample_of(TARGET, nodes, Tally(ok=1))
    assert (sample["view"], sample["primary"]) == (0, 0)
    assert sample["roots"] == {"sequence": 128, "equal": True}
    assert [node["state"] for node in sample["nodes"]] == ["ready", "silent", "silent", "ready"]
    assert [node["broken"] for node in sample["nodes"]] == [None, None, None, "equivocate"]


async def test_experiments_are_watched_as_long_as_they_are_found_and_failures_end_nothing(
    monkeypatch,
):
    monkeypatch.setattr(watching, "FIND_EVERY_S", 0.01)
    monkeypatch.setattr(watching, "LOOK_EVERY_S", 0.01)
    stored, found = [], [TARGET]
    ended = asyncio.Event()

    async def find():
        return list(found)

    async def store(target, at, sample, news):
        stored.append(sample)
        if len(stored) == 1:
            raise ConnectionError
        found.clear()
        ended.set()

    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b"x" * 300_000)

    async with httpx.AsyncClient(transport=httpx.MockTransport(refuse)) as http:
        watcher = ExperimentWatcher(WatchPorts(find, store, clock.now), http)
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            running = group.create_task(watcher.run())
            await ended.wait()
            watcher.stop()
            await running
    assert len(stored) >= 2
    assert {node["state"] for node in stored[-1]["nodes"]} == {"silent"}
