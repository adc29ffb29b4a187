"""Why somebody may do something somewhere, or what is missing."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from portal.access.errors import UnableToExplain
from portal.access.permissions import ALL_PERMISSIONS, PERMISSIONS
from portal.access.ports import cluster_names
from portal.access.resolving import access_of
from portal.access.roles import role_list
from portal.access.types import Access, Held
from portal.core.errors import Forbidden, Invalid
from portal.organizations.models import Role
from portal.organizations.selectors import member_find


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer: by what it is allowed, or which roles would allow it."""

    permission: str
    cluster_id: UUID | None
    email: str
    role: str
    is_by_role: bool
    grants: tuple[Held, ...]
    # Grants that hold the permission, in other places.
    elsewhere: tuple[Held, ...]
    # The caller's own token leaves the permission out; never told of somebody else's.
    is_narrowed: bool
    remedies: tuple[str, ...]

    @property
    def is_allowed(self) -> bool:
        """Tell whether they may."""
        return (self.is_by_role or bool(self.grants)) and not self.is_narrowed


def access_explain(
    access: Access, *, user_id: UUID, permission: str, cluster_id: UUID | None = None
) -> Explanation:
    """Say whether a member may do something everywhere, or on a cluster, and by what.

    Members may ask about themselves, and about what they see; for anybody else it takes
    `members:read`.

    Raises:
        Invalid: there is no such permission or cluster.
        Forbidden: the caller may not see what others hold.
        UnableToExplain: the person is not a member.
    """
    is_me = user_id == access.user.pk
    can_see_all = "members:read" in access.everywhere
    if not is_me and not can_see_all:
        raise Forbidden(permission="members:read")
    _check(permission)
    known = cluster_id is None or (can_see_all or access.sees(cluster_id))
    if not known or (cluster_id is not None and cluster_id not in cluster_names()):
        raise Invalid.at("/cluster", "There is no such cluster.")
    them = access if is_me else _member(access, user_id)
    holding = [held for held in them.held if permission in held.permissions]
    return Explanation(
        permission=permission,
        cluster_id=cluster_id,
        email=them.user.email,
        role=them.role,
        is_by_role=permission in them.role_permissions,
        grants=tuple(held for held in holding if held.covers(cluster_id)),
        elsewhere=tuple(held for held in holding if not held.covers(cluster_id)),
        is_narrowed=them.token_scopes is not None and permission not in them.token_scopes,
        remedies=tuple(_roles_with(permission)),
    )


def _member(access: Access, user_id: UUID) -> Access:
    membership = member_find(access.organization, user_id)
    if membership is None:
        raise UnableToExplain("This person is not a member: nothing here is there for them.")
    return access_of(membership.user, membership)


def _roles_with(permission: str) -> Collection[str]:
    """Return the names of roles that hold the permission, the weakest built-in one first."""
    built_in = sorted(
        (role for role in Role if permission in PERMISSIONS[role]),
        key=lambda role: (len(PERMISSIONS[role]), role.value),
    )
    custom = [role.name for role in role_list() if permission in role.permissions]
    return [role.label for role in built_in] + custom


def _check(permission: str) -> None:
    if permission not in ALL_PERMISSIONS:
        detail = "There is no such permission; GET roles lists them."
        raise Invalid.at("/permission", detail)
