"""What operators see inside an organization: read, bounded, and never left behind."""

from dataclasses import dataclass
from datetime import datetime

from portal.clusters.models import Cluster, Operation
from portal.core.tenancy import tenant_context, tenants

ROWS_MAX = 50
ORGANIZATIONS_MAX = 200


@dataclass(frozen=True, slots=True)
class ClusterRow:
    """A cluster as operators see it."""

    organization: str
    name: str
    plan: str
    status: str
    nodes: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class OperationRow:
    """An operation as operators see it."""

    organization: str
    cluster: str
    kind: str
    state: str
    requested_by: str
    created_at: datetime
    error: str


def clusters_of(schema: str, slug: str) -> list[ClusterRow]:
    """Return an organization's clusters, newest first."""
    with tenant_context(schema):
        rows = Cluster.objects.filter(purged_at=None).order_by("-pk")[:ROWS_MAX]
        return [
            ClusterRow(slug, c.name, c.plan, c.status, c.desired_nodes, c.created_at) for c in rows
        ]


def operations_of(schema: str, slug: str, *, open_only: bool = False) -> list[OperationRow]:
    """Return an organization's operations, newest first; perhaps only those not settled."""
    with tenant_context(schema):
        rows = Operation.objects.select_related("cluster").order_by("-pk")
        if open_only:
            rows = rows.exclude(state__in=["succeeded", "cancelled"])
        return [
            OperationRow(
                slug, o.cluster.name, o.kind, o.state, o.requested_by, o.created_at, o.error
            )
            for o in rows[:ROWS_MAX]
        ]


def everywhere() -> tuple[list[ClusterRow], list[OperationRow]]:
    """Return the clusters and the unsettled operations of the first organizations."""
    clusters: list[ClusterRow] = []
    operations: list[OperationRow] = []
    for number, tenant in enumerate(tenants()):
        if number >= ORGANIZATIONS_MAX:
            break
        clusters += clusters_of(tenant.schema_name, tenant.slug)
        operations += operations_of(tenant.schema_name, tenant.slug, open_only=True)
    return clusters, operations
