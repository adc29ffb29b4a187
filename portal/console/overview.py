"""What the dashboard shows, gathered from the apps that know."""

from dataclasses import dataclass

from django.urls import reverse

from portal.access.models import Invitation
from portal.access.types import Access
from portal.audit.models import AuditEvent
from portal.clusters.models import ApiKey, Cluster
from portal.core import clock
from portal.metering.models import UsageEvent
from portal.metering.selectors import Costs, Usage, costs_of, month_of, usage_of
from portal.organizations.models import Membership
from portal.organizations.selectors import member_list

CLUSTERS_SHOWN_MAX = 8
EVENTS_SHOWN_MAX = 8


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do first; it ticks when the real thing exists."""

    title: str
    words: str
    url: str
    is_done: bool


@dataclass(frozen=True, slots=True)
class Overview:
    """The dashboard's facts."""

    clusters: list[Cluster]
    cluster_count: int
    running_count: int
    members: list[Membership]
    usage: Usage | None
    costs: Costs | None
    events: list[AuditEvent]
    steps: list[Step]

    @property
    def steps_done(self) -> int:
        """How many steps are done."""
        return sum(step.is_done for step in self.steps)

    @property
    def is_set_up(self) -> bool:
        """Tell whether the checklist has nothing left."""
        return self.steps_done == len(self.steps)


def overview_of(access: Access) -> Overview:
    """Gather the dashboard (about ten queries)."""
    now = clock.now()
    can_see = "clusters:read" in access.somewhere
    visible = access.clusters_visible()
    living = Cluster.objects.filter(deleted_at=None).order_by("name")
    clusters = list(living if visible is None else living.filter(visible)) if can_see else []
    members = member_list(access.organization) if access.can("members:read") else []
    can_cost, can_audit = access.can("billing:read"), access.can("audit:read")
    return Overview(
        clusters=clusters[:CLUSTERS_SHOWN_MAX],
        cluster_count=len(clusters),
        running_count=sum(cluster.status == "running" for cluster in clusters),
        members=members,
        usage=usage_of(month_of(now)) if access.can("usage:read") else None,
        costs=costs_of(month_of(now), now=now) if can_cost else None,
        events=list(AuditEvent.objects.order_by("-pk")[:EVENTS_SHOWN_MAX]) if can_audit else [],
        steps=_steps(access, clusters, members) if access.can("clusters:read") else [],
    )


def _steps(access: Access, clusters: list[Cluster], members: list[Membership]) -> list[Step]:
    """Return the way from nothing to a database in use."""
    home = reverse("dashboard", args=[access.organization.slug])
    first = f"{home}clusters/{clusters[0].pk}/" if clusters else f"{home}clusters/"
    is_used = UsageEvent.objects.filter(meter="api_calls", value__gt=0).exists()
    was_invited = len(members) > 1 or Invitation.objects.exists()
    return [
        Step(
            "Create a cluster",
            "Choose a plan and how many faulty nodes it must survive.",
            f"{home}clusters/new/",
            bool(clusters),
        ),
        Step(
            "Wait until it runs",
            "Nodes start, agree, and a probe is written and read back.",
            first,
            any(cluster.ready_at is not None for cluster in clusters),
        ),
        Step(
            "Create an API key",
            "Your program proves with it that it may read or write.",
            first,
            ApiKey.objects.exists(),
        ),
        Step(
            "Write your first document",
            "By curl, by Python, or by importing a file.",
            first,
            is_used,
        ),
        Step("Invite a colleague", "Each has a role.", f"{home}team/", was_invited),
    ]
