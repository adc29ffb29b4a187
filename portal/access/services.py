"""Inviting, accepting, and changing members, with the rules about owners."""

from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.urls import reverse

from portal.access.bindings import bindings_forget, check_within
from portal.access.models import Invitation
from portal.access.permissions import PERMISSIONS
from portal.access.types import Access
from portal.accounts.models import User, email_normalize
from portal.accounts.tokens import token_hash
from portal.audit.services import audit_record
from portal.core import clock
from portal.core.errors import Conflict, Forbidden, Invalid, NotFound
from portal.core.ids import random_base62
from portal.core.tenancy import public_context, tenant_context
from portal.notifications.services import mail_send
from portal.organizations.models import Membership, Organization, Role
from portal.organizations.selectors import membership_get
from portal.organizations.services import (
    membership_add,
    membership_change_role,
    membership_remove,
)

OPEN_COUNT_MAX = 100


def invitation_create(access: Access, *, email: str, role: str) -> tuple[Invitation, str]:
    """Ask someone to join; an open invitation of the same address is replaced.

    Raises:
        Invalid: address or role make no sense.
        Forbidden: only owners make owners, and nobody gives more than they hold.
        Conflict: the person is a member already, or too many invitations are open.
    """
    email, role = _checked_email(email), _checked_role(role)
    _check_may_give(access, role)
    now, secret = clock.now(), random_base62(40)
    with public_context():
        if Membership.objects.filter(organization=access.organization, user__email=email).exists():
            raise Conflict("This person is a member already.", code="already_member")
    with transaction.atomic():
        opened = Invitation.objects.select_for_update().filter(accepted_at=None, revoked_at=None)
        opened.filter(email=email).update(revoked_at=now)
        if opened.filter(expires_at__gt=now).count() >= OPEN_COUNT_MAX:
            raise Conflict("Too many invitations are open.", code="invitation_limit")
        invitation = Invitation.objects.create(
            email=email,
            role=role,
            hash=token_hash(secret),
            invited_by_id=access.user.pk,
            invited_by_label=access.user.get_full_name(),
            created_at=now,
            expires_at=now + settings.INVITATION_TIMEOUT,
        )
        _record(access, "member.invited", invitation)
        path = reverse("invitation", args=[access.organization.slug, secret])
        mail_send(
            to=email,
            template="invitation",
            invitation=invitation,
            organization=access.organization,
            link=settings.PORTAL_URL + path,
        )
    return invitation, secret


def invitation_revoke(access: Access, *, invitation_id: UUID) -> None:
    """Make the link useless.

    Raises:
        NotFound: there is no open invitation with this id.
    """
    with transaction.atomic():
        invitation = (
            Invitation.objects.select_for_update()
            .filter(pk=invitation_id, accepted_at=None, revoked_at=None)
            .first()
        )
        if invitation is None:
            raise NotFound
        invitation.revoked_at = clock.now()
        invitation.save(update_fields=["revoked_at"])
        _record(access, "member.invitation_revoked", invitation)


def invitation_accept(*, organization: Organization, secret: str, user: User) -> Membership:
    """Join by the link; the signed-in address must be the invited one.

    Raises:
        NotFound: the link is wrong, was used or revoked, or is too old.
        Forbidden: another address was invited.
    """
    with tenant_context(organization.schema_name), transaction.atomic():
        invitation = (
            Invitation.objects.select_for_update()
            .filter(
                hash=token_hash(secret),
                accepted_at=None,
                revoked_at=None,
                expires_at__gt=clock.now(),
            )
            .first()
        )
        if invitation is None:
            raise NotFound
        if invitation.email != user.email:
            raise Forbidden(f"This invitation is for {invitation.email}.")
        invitation.accepted_at = clock.now()
        invitation.save(update_fields=["accepted_at"])
        membership = membership_add(
            user_id=user.pk, organization=organization, role=invitation.role
        )
        audit_record(
            access_or_actor=user,
            action="member.joined",
            target_type="member",
            target_id=user.pk,
            target_label=user.email,
            after={"role": membership.role},
        )
    return membership


def member_change_role(access: Access, *, member_id: UUID, role: str) -> Membership:
    """Give a member another role; only owners make owners or change them.

    Raises:
        NotFound: not a member.
        Forbidden: the old or the new role is more than the caller holds.
    """
    role = _checked_role(role)
    membership = _member(access, member_id)
    _check_may_give(access, role)
    _check_may_give(access, membership.role)
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
        _check_may_give(access, membership.role)
    with transaction.atomic():
        membership_remove(actor=access.user, membership=membership)
        bindings_forget(membership.user_id)
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


def _check_may_give(access: Access, role: str) -> None:
    if role == Role.OWNER and not access.can("owners:write"):
        raise Forbidden("Only owners decide who is an owner.", permission="owners:write")
    check_within(access, PERMISSIONS[role])


def _checked_role(role: str) -> str:
    if role not in Role.values:
        words = f"Use one of {', '.join(Role.values)}."
        raise Invalid(errors=[{"pointer": "/role", "detail": words}])
    return role


def _checked_email(email: str) -> str:
    email = email_normalize(email)
    try:
        validate_email(email)
    except ValidationError as error:
        raise Invalid(
            errors=[{"pointer": "/email", "detail": "This is not an e-mail address."}]
        ) from error
    return email


def _record(access: Access, action: str, invitation: Invitation) -> None:
    audit_record(
        access_or_actor=access,
        action=action,
        target_type="invitation",
        target_id=invitation.pk,
        target_label=invitation.email,
        after={"role": invitation.role},
    )
