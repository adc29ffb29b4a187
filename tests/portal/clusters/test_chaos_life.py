"""Real nodes of a sandbox are broken and put back, whatever dies meanwhile."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from django.conf import settings as django_settings

from dataplane.client.client import Client
from dataplane.client.errors import ClientError
from portal.clusters import services as clusters
from portal.clusters.accountability.services import evidence_collect
from portal.clusters.chaos import services as chaos
from portal.clusters.connections import admin_key
from portal.clusters.constants import CHAOS_COLLECTION
from portal.clusters.models import Cluster, Evidence, Experiment, Operation, OperationKind
from portal.clusters.operations import observation
from portal.clusters.operations.plans import STEPS, UNDO
from portal.clusters.ports import DriverError
from portal.clusters.provisioners.process import driver
from portal.clusters.selectors import accused_nodes, cluster_get
from portal.core import clock
from portal.core.tenancy import public_context, tenant_context
from portal.monitoring.experiments.findings import verdict_of
from portal.monitoring.experiments.ports import make_watch_ports, targets_find
from portal.monitoring.experiments.types import Seen
from portal.monitoring.experiments.watching import ExperimentWatcher
from tests.portal.clusters.lives import finish, until
from tests.portal.clusters.workers import survive_every_death, sweep_until, worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture
def sandbox(acme, alice, access_of, tidy_nodes):
    """A running sandbox of four, and who owns it."""
    access = access_of(alice)
    with tenant_context(acme.schema_name):
        cluster, operation = clusters.cluster_create(
            access, name="Sand", plan="starter", region="local-1", nodes=4, sandbox=True
        )
        finish(operation)
        yield access, observe(cluster)


def observe(cluster: Cluster) -> Cluster:
    found = cluster_get(cluster.pk)
    observation.cluster_observe(found, driver())
    return cluster_get(cluster.pk)


def begin(access, cluster, faults, **options) -> Experiment:
    experiment, operation = chaos.experiment_start(
        access, cluster, faults=faults, **{"beyond_f": False, "confirm": "Sand"} | options
    )
    finish(operation)
    experiment.refresh_from_db()
    assert experiment.status == "running"
    return experiment


def end(experiment: Experiment) -> Experiment:
    """Let its time be over, and everything be put back."""
    assert chaos.experiments_revert_due(now=experiment.ends_at) == 1
    finish(Operation.objects.get(kind="mend"))
    experiment.refresh_from_db()
    assert experiment.status == "over"
    return experiment


def check_whole(cluster: Cluster) -> None:
    """Every node is an ordinary one, ready, and the cluster takes writes through each."""
    placed = driver().observe(str(cluster.pk))
    assert {index: p.behaviour for index, p in placed.items()} == dict.fromkeys(range(4), "")
    until(lambda: observe(cluster).status == "running")
    for node in cluster.members:
        with Client([node.url], admin_key(cluster)) as client:
            client.put("after", "one", {"by": node.index})
            assert client.get("after", "one")["by"] == node.index
            assert CHAOS_COLLECTION not in {c["name"] for c in client.collections()}


def write(cluster: Cluster, through: list[int], count: int) -> None:
    urls = {node.index: node.url for node in cluster.members}
    for turn in range(count):
        with Client([urls[through[turn % len(through)]]], admin_key(cluster)) as client:
            client.put("load", "one", {"turn": turn})
        with Client([urls[through[(turn + 1) % len(through)]]], admin_key(cluster)) as client:
            assert client.get("load", "one")["turn"] == turn
            assert client.get("load", "one", consistency="bounded")["turn"] <= turn


def look() -> dict[int, Seen]:
    """What the collector sees of the only experiment."""
    (target,) = targets_find()

    async def ask() -> dict[int, Seen]:
        async with httpx.AsyncClient(trust_env=False) as http:
            return await ExperimentWatcher(make_watch_ports(), http).look(target)

    return asyncio.run(ask())


def test_an_equivocator_is_caught_told_apart_and_forgiven_when_it_is_over(
    sandbox, acme, client_for, alice, mailoutbox
):
    access, cluster = sandbox
    experiment = begin(access, cluster, {2: "equivocate"})
    assert driver().observe(str(cluster.pk))[2].behaviour == "equivocate"

    def caught() -> bool:
        # It lies at every so many sequences: without writes there may be none of them.
        write(cluster, [0, 1, 3], 10)
        evidence_collect(observe(cluster))
        return Evidence.objects.exists()

    until(caught)
    assert {row.experiment_id for row in Evidence.objects.all()} == {experiment.pk}
    assert set(accused_nodes(cluster)) == {2}
    assert {peer.id for peer in look()[0].standing.nodes if peer.evidence} == {2}
    experiment = end(experiment)
    assert (experiment.reason, experiment.outcome["is_healthy"]) == ("deadline", True)
    check_whole(cluster)
    assert accused_nodes(cluster) == {}
    assert mailoutbox == []
    with public_context():
        page = client_for(alice).get(f"/o/acme/clusters/{cluster.pk}/accountability/")
    assert "chaos experiment" in page.content.decode()


def test_forged_replies_fool_nobody_and_are_on_the_timeline(sandbox):
    access, cluster = sandbox
    experiment = begin(access, cluster, {1: "forge_replies"})
    write(cluster, [0, 2, 3], 150)
    seen = look()
    honest = {index: one for index, one in seen.items() if index != 1}
    verdict = verdict_of(honest)
    assert verdict is not None
    assert verdict[1] is True
    refused = {(c.sender, c.kind, c.reason) for s in honest.values() for c in s.rejections.counts}
    assert (1, "Replies", "differs") in refused
    assert {sender for sender, _, _ in refused} == {1}
    end(experiment)
    check_whole(cluster)


def test_a_crashed_node_stays_down_until_it_is_put_back(sandbox):
    access, cluster = sandbox
    experiment = begin(access, cluster, {0: "crash"})
    for _ in range(2):
        # What looks after nodes that are down leaves this one alone.
        assert observe(cluster).status == "degraded"
        assert driver().observe(str(cluster.pk))[0].state == "stopped"
    write(cluster, [1, 2, 3], 5)
    assert 0 not in look()
    operation = chaos.experiment_revert(access, experiment, reason="manual")
    finish(operation)
    check_whole(cluster)


def test_beyond_f_writes_stop_and_go_on_when_it_is_over(sandbox):
    access, cluster = sandbox
    experiment = begin(access, cluster, {0: "crash", 1: "crash"}, beyond_f=True)
    urls = [node.url for node in cluster.members[2:]]
    with Client(urls, admin_key(cluster), timeout_s=8) as client, pytest.raises(ClientError):
        client.put("load", "one", {"n": 1})
    end(experiment)
    check_whole(cluster)


def test_breaking_and_mending_survive_a_worker_killed_after_each_step(sandbox, services, tmp_path):
    access, cluster = sandbox
    log = tmp_path / "worker.log"
    experiment, operation = chaos.experiment_start(
        access, cluster, faults={3: "stale_reads"}, beyond_f=False, confirm="Sand"
    )
    survive_every_death(services, log, operation, [s.name for s in STEPS[OperationKind.BREAK]])
    assert driver().observe(str(cluster.pk))[3].behaviour == "stale_reads"
    chaos.experiments_revert_due(now=experiment.ends_at)
    operation = Operation.objects.get(kind="mend")
    survive_every_death(services, log, operation, [s.name for s in STEPS[OperationKind.MEND]])
    experiment.refresh_from_db()
    assert (experiment.status, experiment.reason) == ("over", "deadline")
    check_whole(cluster)


def test_a_start_whose_worker_died_is_undone_when_its_time_is_over(sandbox, services, tmp_path):
    access, cluster = sandbox
    log = tmp_path / "worker.log"
    experiment, operation = chaos.experiment_start(
        access, cluster, faults={3: "drop"}, beyond_f=False, confirm="Sand"
    )
    with worker(services, log, die_after="break") as process:
        sweep_until(lambda: process.poll() is not None)
    assert driver().observe(str(cluster.pk))[3].behaviour == "drop"
    assert chaos.experiments_revert_due(now=experiment.ends_at) == 1
    survive_every_death(services, log, operation, [s.name for s in UNDO[OperationKind.BREAK]])
    experiment.refresh_from_db()
    assert (experiment.status, experiment.reason) == ("over", "deadline")
    check_whole(cluster)


def test_a_node_of_production_is_never_started_broken(acme, alice, access_of, tidy_nodes, settings):
    settings.CLUSTER_PROFILE = "production"
    with tenant_context(acme.schema_name):
        cluster, operation = clusters.cluster_create(
            access_of(alice), name="Real", plan="free", region="local-1", nodes=1
        )
        finish(operation)
        home = Path(django_settings.AEROLITH_HOME) / "clusters" / str(cluster.pk) / "node-0"
        assert json.loads((home / "spec.json").read_text())["profile"] == "production"
        until_then = clock.now() + timedelta(minutes=5)
        with pytest.raises(DriverError, match="never made to lie"):
            driver().start_broken(str(cluster.pk), 0, "drop", until_then)
        assert driver().observe(str(cluster.pk))[0].behaviour == ""
