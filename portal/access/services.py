"""Changing members, with the rules about owners."""

from uuid import UUID

from django.db import transaction

from portal.access.bindings import bindings_forget, check_within
from portal.access.permissions import PERMISSIONS
from portal.access.types import Access
from portal.core.errors import Forbidden, Invalid, NotFound
from portal.core.tenancy import public_context
from portal.organizations.models import Membership, Role
from portal.organizations.selectors import membership_get
from portal.organizations.services import (
    membership_change_role,
    membership_remove,
    organization_hold,
)


def member_change_role(access: Access, *, member_id: UUID, role: str) -> Membership:
    """Give a member another role; only owners make owners or change them.

    Raises:
        NotFound: not a member.
        Forbidden: the old or the new role is more than the caller holds.
    """
    role = checked_role(role)
    membership = _member(access, member_id)
    check_may_give(access, role)
    check_may_give(access, membership.role)
    return membership_change_role(actor=access.user, membership=membership, role=role)


def member_remove(access: Access, *, member_id: UUID) -> Membership:
    """Take a member out and return who it was; everyone may leave.

    Raises:
        NotFound: not a member.
        Forbidden: the member's role is more than the caller holds, who may not manage members.
    """
    membership = _member(access, member_id)
    if membership.user_id != access.user.pk:
        if not access.can("members:write"):
            raise Forbidden(permission="members:write")
        check_may_give(access, membership.role)
    with transaction.atomic():
        organization_hold(membership.organization_id)
        # Before it is written to the trail, as all who change these rows do it.
        bindings_forget(membership.user_id)
        membership_remove(actor=access.user, membership=membership)
    return membership


def member_leave(access: Access) -> None:
    """Leave the organization; it takes no permission.

    Raises:
        UnableToLeaveWithoutOwner: the caller is the last owner.
    """
    membership = membership_get(user_id=access.user.pk, slug=access.organization.slug)
    assert membership is not None, "who has access is a member"
    member_remove(access, member_id=membership.pk)


def _member(access: Access, member_id: UUID) -> Membership:
    with public_context():
        membership = (
            Membership.objects.filter(pk=member_id, organization=access.organization)
            .select_related("user", "organization")
            .first()
        )
    if membership is None:
        raise NotFound
    return membership


def check_may_give(access: Access, role: str) -> None:
    """Refuse to give a role that is more than the caller holds; only owners make owners.

    Raises:
        Forbidden: it is.
    """
    if role == Role.OWNER and not access.can("owners:write"):
        raise Forbidden("Only owners decide who is an owner.", permission="owners:write")
    check_within(access, PERMISSIONS[role])


def checked_role(role: str) -> str:
    """Return a built-in role.

    Raises:
        Invalid: there is none of that name.
    """
    if role not in Role.values:
        words = f"Use one of {', '.join(Role.values)}."
        raise Invalid.at("/role", words)
    return role
