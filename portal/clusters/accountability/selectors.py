"""Reading evidence of the organization in force."""

from uuid import UUID

from django.db.models import QuerySet

from portal.clusters.models import Cluster, Evidence
from portal.core.errors import NotFound


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
