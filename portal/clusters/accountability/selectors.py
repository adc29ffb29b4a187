"""Reading evidence of the organization in force."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db.models import QuerySet

from dataplane.client.evidence import Equivocation
from portal.clusters.faults import FAULTS
from portal.clusters.models import BROKEN, Cluster, Evidence, Experiment
from portal.core.errors import NotFound

EXPERIMENTS_ASKED_MAX: Final = 50
LATE: Final = timedelta(minutes=2)
"""So long after a node was mended, proofs that name no sequence may still come in."""


def experiment_behind(cluster: Cluster, proven: Equivocation, now: datetime) -> Experiment | None:
    """Return the experiment in which a node was made to sign what proves that it lied.

    A proof may arrive long after it; the sequence that it is about tells when it was signed.
    """
    for experiment in Experiment.objects.filter(cluster=cluster)[:EXPERIMENTS_ASKED_MAX]:
        behaviour = experiment.broken.get(proven.replica)
        if behaviour is None or not FAULTS[behaviour].leaves_proof:
            continue
        if _covers(experiment, proven.sequence, now):
            return experiment
    return None


def _covers(experiment: Experiment, sequence: int, now: datetime) -> bool:
    first, last = (experiment.outcome.get(name) for name in ("first_sequence", "last_sequence"))
    if sequence and isinstance(first, int):
        return first <= sequence and (not isinstance(last, int) or sequence <= last)
    is_recent = experiment.reverted_at is not None and experiment.reverted_at > now - LATE
    return is_recent or experiment.status in BROKEN


def evidence_list(cluster: Cluster) -> QuerySet[Evidence]:
    """Return proofs with who reported them, newest first (two statements)."""
    return Evidence.objects.filter(cluster=cluster).prefetch_related("reports")


def evidence_get(cluster: Cluster, evidence_id: UUID) -> Evidence:
    """Return a proof.

    Raises:
        NotFound: the cluster has no such proof.
    """
    found = evidence_list(cluster).filter(pk=evidence_id).first()
    if found is None:
        raise NotFound("There is no such proof.")
    return found
