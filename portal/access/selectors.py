"""Reading invitations and grants, and who holds which permission."""

from collections import Counter
from collections.abc import Iterable
from uuid import UUID

from django.db.models import QuerySet

from portal.access.models import Invitation, RoleBinding, TeamMember
from portal.access.permissions import PERMISSIONS
from portal.access.resolving import LiveBinding, held_of, live_bindings
from portal.accounts.models import User
from portal.accounts.tokens import token_hash
from portal.core import clock
from portal.core.tenancy import tenant_context
from portal.organizations.models import Organization
from portal.organizations.selectors import member_list


def invitation_list() -> list[Invitation]:
    """Return the open invitations of the organization in force, expired ones included."""
    return list(invitation_query().order_by("-pk"))


def invitation_query() -> QuerySet[Invitation]:
    """Return the open invitations, expired ones included, with their teams."""
    opened = Invitation.objects.filter(accepted_at=None, revoked_at=None)
    return opened.prefetch_related("teams")


def invitation_by_secret(secret: str) -> Invitation | None:
    """Return the invitation that a link names, if it can still be accepted."""
    return Invitation.objects.filter(
        hash=token_hash(secret), accepted_at=None, revoked_at=None, expires_at__gt=clock.now()
    ).first()


def permission_holders(
    organization: Organization, permission: str, cluster_id: UUID | None = None
) -> list[User]:
    """Return the people who hold a permission on a cluster, or everywhere; oldest members first."""
    with tenant_context(organization.schema_name):
        grants = [
            binding
            for binding in live_bindings()
            if permission in (held := held_of(binding)).permissions and held.covers(cluster_id)
        ]
        granted = people_of(grants)
    return [
        member.user
        for member in member_list(organization)
        if member.user.is_active
        and (permission in PERMISSIONS[member.role] or member.user_id in granted)
    ]


def binding_list() -> list[LiveBinding]:
    """Return the grants of the organization in force that hold now, newest first."""
    return list(live_bindings().order_by("-pk"))


def grant_counts() -> Counter[UUID]:
    """Return how many grants each person has now, those of their teams too (two statements)."""
    grants = binding_list()
    team_counts = Counter(row.team_id for row in grants if row.team_id is not None)
    found = Counter(row.user_id for row in grants if row.user_id is not None)
    rows = TeamMember.objects.filter(team__in=team_counts).values_list("user_id", "team")
    for user_id, team_id in rows if team_counts else ():
        found[user_id] += team_counts[team_id]
    return found


def people_of(bindings: Iterable[RoleBinding]) -> set[UUID]:
    """Return everybody whom these grants concern."""
    bindings = list(bindings)
    teams = {binding.team_id for binding in bindings if binding.team_id is not None}
    people = {binding.user_id for binding in bindings if binding.user_id is not None}
    if teams:
        rows = TeamMember.objects.filter(team__in=teams)
        people |= set(rows.values_list("user_id", flat=True))
    return people
