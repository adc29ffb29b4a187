"""From a membership and the grants to what a person may do: one statement for each request."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import TypedDict, cast
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef, Q, QuerySet
from django_stubs_ext import WithAnnotations

from portal.access.models import ClusterLabel, RoleBinding, TeamMember
from portal.access.permissions import ALL_PERMISSIONS, PERMISSIONS
from portal.access.types import CLUSTER, EVERYWHERE, Access, Held, Scope
from portal.accounts.models import AccessToken, User
from portal.core import clock
from portal.organizations.models import Membership


class Labelled(TypedDict):
    """What `live_bindings` adds to a grant."""

    labelled_ids: Sequence[UUID]


type LiveBinding = WithAnnotations[RoleBinding, Labelled]


def access_of(user: User, membership: Membership, token: AccessToken | None = None) -> Access:
    """Return what a member may do; called in the schema of the organization."""
    return Access(
        user=user,
        organization=membership.organization,
        role=membership.role,
        role_permissions=PERMISSIONS[membership.role],
        held=held_by(user.pk),
        token_scopes=frozenset(token.scopes) if token is not None and token.scopes else None,
    )


def held_by(user_id: UUID) -> tuple[Held, ...]:
    """Return the grants of a person and of their teams that hold now (one statement)."""
    teams = TeamMember.objects.filter(user_id=user_id).values("team")
    mine = live_bindings().filter(Q(user_id=user_id) | Q(team__in=teams))
    return tuple(held_of(binding) for binding in mine)


def live_bindings() -> QuerySet[LiveBinding]:
    """Return the grants that have not ended, each with the clusters of its label."""
    labelled = ClusterLabel.objects.filter(label=OuterRef("scope")).values("cluster_id")
    rows = (
        RoleBinding.objects.filter(Q(expires_at=None) | Q(expires_at__gt=clock.now()))
        .annotate(labelled_ids=ArraySubquery(labelled))
        .select_related("team", "custom_role")
    )
    return cast("QuerySet[LiveBinding]", rows)


def permissions_of(binding: RoleBinding) -> AbstractSet[str]:
    """Return what the role of a grant permits; a custom role names nothing that is not known."""
    if binding.custom_role is None:
        return PERMISSIONS[binding.role]
    return ALL_PERMISSIONS.intersection(binding.custom_role.permissions)


def held_of(binding: LiveBinding) -> Held:
    """Reduce a grant of `live_bindings` to what decides."""
    if binding.scope_kind == EVERYWHERE:
        ids = None
    elif binding.scope_kind == CLUSTER:
        ids = frozenset({UUID(binding.scope)})
    else:
        ids = frozenset(binding.labelled_ids)
    return Held(
        id=binding.pk,
        scope=Scope(binding.scope_kind, binding.scope),
        role=binding.role_code,
        role_name=binding.role_name,
        permissions=permissions_of(binding),
        cluster_ids=ids,
        team=binding.team.name if binding.team is not None else "",
        expires_at=binding.expires_at,
    )
