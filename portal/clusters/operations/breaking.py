"""Steps that break nodes on purpose, and that mend them.

A broken node is the same node, with the same data and keys, under another program; mending starts
the program of before. So each step looks at what runs and changes what differs from what is wanted,
whatever was done before a worker died.
"""

from datetime import timedelta
from typing import Any, Final

import httpx

from dataplane.client.client import Client
from dataplane.client.errors import ApiError, ClientError
from portal.audit.services import Actor, audit_record
from portal.clusters.connections import admin_client, admin_key
from portal.clusters.constants import CHAOS_COLLECTION, EXPERIMENTS_KEPT, SAMPLE, SAMPLE_TEXT
from portal.clusters.faults import CRASH
from portal.clusters.models import (
    BROKEN,
    Experiment,
    ExperimentRecord,
    ExperimentStatus,
)
from portal.clusters.operations.creation import (
    CLIENT_TIMEOUT_S,
    error_words,
    has_waited,
    nodes_named,
)
from portal.clusters.operations.live import announce_cluster
from portal.clusters.operations.observation import checkpoints, nodes_observe, standings
from portal.clusters.operations.types import Context, Outcome, Waiting
from portal.core import clock

LAG_MAX: Final = 64
WRITES_AT_ONCE: Final = 48
# Three checkpoints: one is enough unless something is wrong.
WRITES_MAX: Final = 3 * 128
PATIENCE: Final = timedelta(seconds=30)
SPENT: Final = frozenset({"quota_exceeded", "storage_quota_exceeded"})


def _experiment(context: Context) -> Experiment:
    return Experiment.objects.get(pk=context.operation.params["experiment"])


def prepare(context: Context) -> Outcome:
    """Have something stored that every node has and nobody else writes."""
    operation, cluster = context.operation, context.cluster
    if "sequence" not in operation.params:
        try:
            with admin_client(cluster, timeout_s=CLIENT_TIMEOUT_S) as client:
                client.put(CHAOS_COLLECTION, SAMPLE, {"text": SAMPLE_TEXT})
        except (ClientError, httpx.HTTPError) as error:
            return Waiting(f"the cluster to accept a write ({error_words(error)})")
    seen = standings(cluster.members, admin_key(cluster))
    if "sequence" not in operation.params:
        operation.params["sequence"] = max((s.sequence for s in seen.values()), default=0)
        operation.save(update_fields=["params"])
        _note(_experiment(context), first_sequence=operation.params["sequence"])
    wanted = operation.params["sequence"]
    behind = [n.index for n in cluster.members if n.index not in seen]
    behind += [index for index, standing in seen.items() if standing.sequence < wanted]
    return Waiting(f"{nodes_named(sorted(behind))} to have what was written") if behind else None


def break_nodes(context: Context) -> Outcome:
    """Put the chosen nodes under the program that goes wrong; kill those that are to crash."""
    experiment, driver, key = _experiment(context), context.driver, str(context.cluster.pk)
    seen = driver.observe(key)
    waited: list[int] = []
    for index, behaviour in experiment.broken.items():
        placed = seen.get(index)
        if behaviour == CRASH:
            if placed is not None and placed.state != "stopped":
                driver.crash(key, index)
                waited.append(index)
        elif placed is None or placed.behaviour != behaviour:
            driver.start_broken(key, index, behaviour, experiment.ends_at)
            waited.append(index)
        elif not placed.is_up:
            waited.append(index)
    return Waiting(f"{nodes_named(waited)} to be broken") if waited else None


def begin(context: Context) -> Outcome:
    """Say that it runs; it ends at the time that was set when it was asked for."""
    experiment = _experiment(context)
    rows = Experiment.objects.filter(pk=experiment.pk, status=ExperimentStatus.STARTING)
    rows.update(status=ExperimentStatus.RUNNING, running_at=clock.now())
    announce_cluster(context.cluster)
    return None


def mend(context: Context) -> Outcome:
    """Start the program of before on every node that was broken."""
    experiment, driver, key = _experiment(context), context.driver, str(context.cluster.pk)
    seen = driver.observe(key)
    waited = [
        index
        for index in experiment.broken
        if index not in seen or seen[index].behaviour or not seen[index].is_up
    ]
    for index in waited:
        driver.start(key, index)
    if waited:
        return Waiting(f"{nodes_named(waited)} to run as before")
    if experiment.reverted_at is None:
        # What was signed until now is behind what may be ordered at once from here.
        told = standings(context.cluster.members, admin_key(context.cluster)).values()
        newest = max((standing.sequence for standing in told), default=None)
        if newest is not None:
            _note(experiment, last_sequence=newest + LAG_MAX)
    rows = Experiment.objects.filter(pk=experiment.pk, status__in=BROKEN)
    rows.update(status=ExperimentStatus.RECOVERING, reverted_at=clock.now())
    announce_cluster(context.cluster)
    return None


def recovered(context: Context) -> Outcome:
    """Wait until every node is ready and has what the others have."""
    found = nodes_observe(context.cluster.members, admin_key(context.cluster))
    newest = max((o.sequence or 0 for o in found), default=0)
    behind = [o.index for o in found if not o.is_ready or newest - (o.sequence or 0) > LAG_MAX]
    return Waiting(f"{nodes_named(behind)} to catch up") if behind else None


def compare(context: Context) -> Outcome:
    """Bring the cluster to a checkpoint, and see that all nodes have the same state there."""
    experiment, members = _experiment(context), context.cluster.members
    found = checkpoints(members, admin_key(context.cluster))
    common = set.intersection(*map(set, found.values())) if len(found) == len(members) else set()
    since = int(context.operation.params.get("compare_since", 0))
    reached = [sequence for sequence in common if sequence > since]
    if not reached:
        return _move_on(context)
    sequence = max(reached)
    is_equal = len({roots[sequence] for roots in found.values()}) == 1
    if not is_equal and not (experiment.is_beyond_f and has_waited(context, PATIENCE)):
        return Waiting(f"all nodes to have the same root at {sequence:,}")
    _note(experiment, is_healthy=is_equal, compared_at=sequence)
    return None


def _move_on(context: Context) -> Outcome:
    """Write until a checkpoint is reached: a quiet cluster would take days."""
    operation = context.operation
    written = int(operation.params.get("written", 0))
    if written >= WRITES_MAX:
        return Waiting("a checkpoint that all nodes say they reached")
    operation.params["written"] = written + WRITES_AT_ONCE
    operation.save(update_fields=["params"])
    try:
        with admin_client(context.cluster, timeout_s=CLIENT_TIMEOUT_S) as client:
            for number in range(WRITES_AT_ONCE):
                client.put(CHAOS_COLLECTION, "filling", {"number": written + number})
    except ApiError as error:
        if error.code not in SPENT:
            return Waiting(f"the cluster to accept writes ({error.code})")
        # The plan is used up: the comparison is left to the next checkpoint of the cluster's own.
        _note(_experiment(context), is_healthy=None, compared_at=None)
        return None
    except (ClientError, httpx.HTTPError) as error:
        return Waiting(f"the cluster to accept writes ({error_words(error)})")
    return Waiting("a checkpoint to compare all nodes at")


def _note(experiment: Experiment, **found: object) -> None:
    experiment.outcome |= found
    experiment.save(update_fields=["outcome"])


def close(context: Context) -> Outcome:
    """Take away what was written for it, write down what happened, and forget old ones."""
    experiment, cluster = _experiment(context), context.cluster
    try:
        with admin_client(cluster, timeout_s=CLIENT_TIMEOUT_S) as client:
            _drop(client)
    except (ClientError, httpx.HTTPError) as error:
        if not has_waited(context, PATIENCE):
            return Waiting(f"the cluster to drop what was written ({error_words(error)})")
    if experiment.status != ExperimentStatus.OVER:
        experiment.status, experiment.over_at = ExperimentStatus.OVER, clock.now()
        experiment.outcome |= _counted(experiment)
        experiment.save(update_fields=["status", "over_at", "outcome"])
        audit_record(
            access_or_actor=Actor(label="operations"),
            action="cluster.chaos_over",
            target_type="cluster",
            target_id=cluster.pk,
            target_label=cluster.name,
            after={"experiment": str(experiment.pk), **experiment.outcome},
        )
    old = Experiment.objects.filter(cluster=cluster).values_list("pk", flat=True)
    ExperimentRecord.objects.filter(experiment__in=list(old[EXPERIMENTS_KEPT:])).delete()
    announce_cluster(cluster)
    return None


def _drop(client: Client) -> None:
    try:
        client.collection_drop(CHAOS_COLLECTION)
    except ApiError as error:
        if error.code != "not_found":
            raise


def _counted(experiment: Experiment) -> dict[str, Any]:
    """Sum up what was seen."""
    figures = list(experiment.records.filter(kind=SAMPLE).values_list("facts", flat=True))
    probes = [sample["probe"] for sample in figures]
    views = [v for sample in figures if (v := sample.get("view")) is not None]
    verdicts = [sample["roots"]["equal"] for sample in figures if sample["roots"]["sequence"]]
    told = list(experiment.records.exclude(kind=SAMPLE).values_list("kind", "facts"))
    return {
        "writes": sum(probe["ok"] for probe in probes),
        "writes_failed": sum(probe["failed"] for probe in probes),
        "reads_wrong": sum(probe["wrong"] for probe in probes),
        "slowest_ms": max((probe["slowest_ms"] or 0 for probe in probes), default=0),
        "views": max(views) - min(views) if views else 0,
        "rejected": sum(int(facts["count"]) for kind, facts in told if kind == "rejected"),
        "proofs": sum(int(facts["count"]) for kind, facts in told if kind == "proof"),
        "roots_equal": all(verdicts) if verdicts else None,
    }
