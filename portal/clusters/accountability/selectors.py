"""Reading evidence of the organization in force."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db.models import Q, QuerySet

from portal.clusters.faults import FAULTS
from portal.clusters.models import BROKEN, Cluster, Evidence, Experiment
from portal.core.errors import NotFound

LATE: Final = timedelta(minutes=2)
"""So long after a node was mended, proofs of what it was made to say may still come in."""


def experiment_behind(cluster: Cluster, node: int, now: datetime) -> Experiment | None:
    """Return the experiment in which a node is made to leave proof against itself now."""
    is_now = Q(status__in=BROKEN) | Q(reverted_at__gt=now - LATE)
    for experiment in Experiment.objects.filter(is_now, cluster=cluster):
        behaviour = experiment.broken.get(node)
        if behaviour is not None and FAULTS[behaviour].leaves_proof:
            return experiment
    return None


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
