"""Inviting people, in a role and into teams; sending again, revoking and accepting."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.urls import reverse

from portal.access.bindings import check_held_within, held_by_team
from portal.access.models import Invitation, Team, TeamMember
from portal.access.services import check_may_give, checked_role
from portal.access.teams import MEMBER_COUNT_MAX, TEAM_COUNT_MAX
from portal.access.types import Access
from portal.accounts.models import User, email_normalize
from portal.accounts.tokens import token_hash
from portal.audit.services import audit_record
from portal.core import clock, live
from portal.core.errors import Conflict, Forbidden, Invalid, NotFound
from portal.core.ids import random_base62
from portal.core.tenancy import public_context, tenant_context
from portal.notifications.services import mail_send
from portal.organizations.models import Membership, Organization
from portal.organizations.services import membership_add, organization_hold

OPEN_COUNT_MAX: Final = 100
LIFE_MIN: Final = timedelta(hours=1)
LIFE_MAX: Final = timedelta(days=30)
PAUSE: Final = timedelta(minutes=1)
"""The time between two mails about one invitation: nobody fills a stranger's mailbox."""


def invitation_create(
    access: Access,
    *,
    email: str,
    role: str,
    expires: datetime | None = None,
    teams: Sequence[UUID] = (),
) -> tuple[Invitation, str]:
    """Ask someone to join; an open invitation of the same address is replaced.

    Raises:
        Invalid: address, role, end or teams make no sense.
        Forbidden: only owners make owners, and nobody gives more than they hold.
        Conflict: the person is a member already, or too many invitations are open.
    """
    email, role = _checked_email(email), checked_role(role)
    now, secret = clock.now(), random_base62(40)
    life = settings.INVITATION_TIMEOUT if expires is None else _checked_life(expires - now)
    check_may_give(access, role)
    with public_context():
        if Membership.objects.filter(organization=access.organization, user__email=email).exists():
            raise Conflict("This person is a member already.", code="already_member")
    with transaction.atomic():
        found = _checked_teams(access, teams)
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
            life=life,
            expires_at=now + life,
        )
        invitation.teams.set(found)
        _record(access, "member.invited", invitation)
        _send(access.organization, invitation, secret)
    return invitation, secret


def invitation_resend(access: Access, *, invitation_id: UUID) -> tuple[Invitation, str]:
    """Send an open or expired invitation once more, for as long as the first time.

    The link is a new one, since only the hash of the old one is kept; the old one ends.

    Raises:
        NotFound: there is no open invitation with this id.
        Forbidden: the caller could not invite so.
        Conflict: the last mail was sent a moment ago, or too many invitations are open.
    """
    now, secret = clock.now(), random_base62(40)
    with transaction.atomic():
        invitation = _locked(invitation_id)
        check_may_give(access, invitation.role)
        _check_may_place(access, invitation.teams.all())
        if now < invitation.sent_at + PAUSE:
            raise Conflict("It was sent a moment ago; wait a minute.", code="invitation_just_sent")
        opened = Invitation.objects.filter(accepted_at=None, revoked_at=None, expires_at__gt=now)
        if opened.exclude(pk=invitation.pk).count() >= OPEN_COUNT_MAX:
            raise Conflict("Too many invitations are open.", code="invitation_limit")
        invitation.hash = token_hash(secret)
        invitation.expires_at = now + invitation.life
        invitation.save(update_fields=["hash", "expires_at"])
        _record(access, "member.invitation_resent", invitation)
        _send(access.organization, invitation, secret)
    return invitation, secret


def invitation_revoke(access: Access, *, invitation_id: UUID) -> None:
    """Make the link useless.

    Raises:
        NotFound: there is no open invitation with this id.
    """
    with transaction.atomic():
        invitation = _locked(invitation_id)
        invitation.revoked_at = clock.now()
        invitation.save(update_fields=["revoked_at"])
        _record(access, "member.invitation_revoked", invitation)


def invitation_accept(*, organization: Organization, secret: str, user: User) -> Membership:
    """Join by the link, and its teams; the signed-in address must be the invited one.

    Raises:
        NotFound: the link is wrong, was used or revoked, or is too old.
        Forbidden: another address was invited.
    """
    now = clock.now()
    with tenant_context(organization.schema_name), transaction.atomic():
        organization_hold(organization.pk)
        invitation = (
            Invitation.objects.select_for_update()
            .filter(hash=token_hash(secret), accepted_at=None, revoked_at=None, expires_at__gt=now)
            .first()
        )
        if invitation is None:
            raise NotFound
        if invitation.email != user.email:
            raise Forbidden(f"This invitation is for {invitation.email}.")
        invitation.accepted_at = now
        invitation.save(update_fields=["accepted_at"])
        membership = membership_add(
            user_id=user.pk, organization=organization, role=invitation.role
        )
        joined = _teams_join(invitation, user, now)
        audit_record(
            access_or_actor=user,
            action="member.joined",
            target_type="member",
            target_id=user.pk,
            target_label=user.email,
            after={"role": membership.role, **({"teams": joined} if joined else {})},
        )
    return membership


def _teams_join(invitation: Invitation, user: User, now: datetime) -> list[str]:
    """Put somebody into the teams that are still there, and not full by now; return their names."""
    names = []
    for team in invitation.teams.select_for_update().order_by("pk"):
        if team.members.count() < MEMBER_COUNT_MAX:
            TeamMember.objects.get_or_create(team=team, user_id=user.pk, defaults={"added_at": now})
            names.append(team.name)
    if names:
        live.access_changed(user.pk)
    return names


def _locked(invitation_id: UUID) -> Invitation:
    invitation = (
        Invitation.objects.select_for_update()
        .filter(pk=invitation_id, accepted_at=None, revoked_at=None)
        .first()
    )
    if invitation is None:
        raise NotFound
    return invitation


def _check_may_place(access: Access, teams: Iterable[Team]) -> None:
    """Refuse to put somebody into teams that hold more than the caller does."""
    for team in teams:
        check_held_within(access, held_by_team(team))


def _checked_teams(access: Access, teams: Sequence[UUID]) -> list[Team]:
    wanted = set(teams)
    found = list(Team.objects.filter(pk__in=wanted)) if len(wanted) <= TEAM_COUNT_MAX else []
    if len(found) != len(wanted):
        raise Invalid.at("/teams", "There is no such team.")
    _check_may_place(access, found)
    return found


def _checked_life(life: timedelta) -> timedelta:
    if not LIFE_MIN <= life <= LIFE_MAX:
        words = f"An invitation works for an hour to {LIFE_MAX.days} days."
        raise Invalid.at("/expires", words)
    return life


def _checked_email(email: str) -> str:
    email = email_normalize(email)
    try:
        validate_email(email)
    except ValidationError as error:
        raise Invalid.at("/email", "This is not an e-mail address.") from error
    return email


def _send(organization: Organization, invitation: Invitation, secret: str) -> None:
    path = reverse("invitation", args=[organization.slug, secret])
    mail_send(
        to=invitation.email,
        template="invitation",
        invitation=invitation,
        organization=organization,
        link=settings.PORTAL_URL + path,
    )


def _record(access: Access, action: str, invitation: Invitation) -> None:
    teams = list(invitation.teams.values_list("name", flat=True))
    audit_record(
        access_or_actor=access,
        action=action,
        target_type="invitation",
        target_id=invitation.pk,
        target_label=invitation.email,
        after={"role": invitation.role, **({"teams": teams} if teams else {})},
    )
