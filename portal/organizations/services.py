"""Making and changing organizations and their memberships."""

import re
from uuid import UUID

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import IntegrityError, transaction
from django.utils.text import slugify

from portal.audit.services import Person, audit_record
from portal.core import clock, live
from portal.core.errors import Invalid, NotFound
from portal.core.ids import random_base62, uuid7
from portal.core.tenancy import public_context, tenant_context
from portal.organizations.errors import (
    RoleChanged,
    TooManyOrganizations,
    UnableToLeaveWithoutOwner,
    UnableToUseSlug,
)
from portal.organizations.models import Membership, Organization, Role
from portal.organizations.schemas import schema_create, schema_prepare
from portal.organizations.security import SecurityPolicy, policy_of
from portal.organizations.selectors import owner_query

NAME_LENGTH_MAX = 80
SLUG_LENGTH_MAX = 40
OWNED_COUNT_MAX = 20
RESERVED_SLUGS = frozenset(
    {"new", "api", "admin", "operators", "account", "login", "logout", "signup", "static", "public"}
)
_SLUG = re.compile(r"^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$")


def organization_create(
    *, owner: AbstractBaseUser, name: str, slug: str | None = None
) -> Organization:
    """Make an organization with its schema and role, owned by `owner`.

    Raises:
        Invalid: name or slug are not acceptable.
        UnableToUseSlug: another organization has the slug.
        TooManyOrganizations: the owner has reached the limit.
    """
    name = _checked_name(name)
    with public_context():
        schema_prepare()
        with transaction.atomic():
            _check_owned_count(owner)
            organization = _organization_insert(name, slug)
            schema_create(organization.schema_name)
            Membership.objects.create(
                user_id=owner.pk,
                organization=organization,
                role=Role.OWNER,
                created_at=organization.created_at,
            )
            _record(owner, organization, "organization.created", organization, after={"name": name})
    return organization


def organization_rename(*, actor: Person, organization: Organization, name: str) -> Organization:
    """Give another name; the slug stays, since links hold it."""
    name = _checked_name(name)
    with public_context(), transaction.atomic():
        locked: Organization = Organization.objects.select_for_update().get(pk=organization.pk)
        before = locked.name
        locked.name = name
        locked.save(update_fields=["name"])
        _record(
            actor,
            locked,
            "organization.renamed",
            locked,
            before={"name": before},
            after={"name": name},
        )
    return locked


def organization_security_set(
    *, actor: Person, organization: Organization, policy: SecurityPolicy
) -> None:
    """Set what is asked of those who enter."""
    with public_context(), transaction.atomic():
        locked: Organization = Organization.objects.select_for_update().get(pk=organization.pk)
        before, after = policy_of(locked.security), policy.json
        if before == policy:
            return
        locked.security = after
        locked.save(update_fields=["security"])
        action = "organization.security_changed"
        _record(actor, locked, action, locked, before=before.json, after=after)


def organization_hold(organization_id: UUID) -> None:
    """Let nobody come, leave or be given anything here before the transaction ends.

    It comes before every other lock: else two who wait for each other never end.
    """
    with public_context():
        Organization.objects.select_for_update().get(pk=organization_id)


def membership_add(*, user_id: UUID, organization: Organization, role: str) -> Membership:
    """Make a user a member; one who is already keeps the role."""
    with public_context():
        membership, _ = Membership.objects.get_or_create(
            user_id=user_id,
            organization=organization,
            defaults={"role": Role(role), "created_at": clock.now()},
        )
    return membership


def membership_change_role(*, actor: Person, membership: Membership, role: str) -> Membership:
    """Give a member another role.

    Raises:
        UnableToLeaveWithoutOwner: it is the last owner.
        NotFound, RoleChanged: they are not what `membership` says any more.
    """
    with public_context(), transaction.atomic():
        locked = _locked(membership)
        if locked.role == Role.OWNER and role != Role.OWNER:
            _check_other_owner(locked)
        before = locked.role
        if before == role:
            return locked
        # Before the activity is published: who may not see it any more is cut off first.
        live.access_changed(locked.user_id)
        locked.role = Role(role)
        locked.save(update_fields=["role"])
        _record(
            actor,
            locked.organization,
            "member.role_changed",
            locked,
            before={"role": before},
            after={"role": role},
        )
    return locked


def membership_remove(*, actor: Person, membership: Membership) -> None:
    """Take a member out, with the tokens they made for this organization.

    Raises:
        UnableToLeaveWithoutOwner: it is the last owner.
        NotFound, RoleChanged: they are not what `membership` says any more.
    """
    with public_context(), transaction.atomic():
        locked = _locked(membership)
        if locked.role == Role.OWNER:
            _check_other_owner(locked)
        live.access_changed(locked.user_id)
        _record(actor, locked.organization, "member.removed", locked, before={"role": locked.role})
        locked.organization.access_tokens.filter(user=locked.user_id).delete()
        locked.delete()


def _organization_insert(name: str, slug: str | None) -> Organization:
    """Insert with the wished slug, or with one made of the name."""
    now = clock.now()
    candidates = [slug] if slug else _slug_candidates(name)
    for candidate in candidates:
        if not _SLUG.match(candidate):
            raise Invalid.at(
                "/slug", "Use lower-case letters, digits and hyphens, 1 to 40 of them."
            )
        if candidate in RESERVED_SLUGS:
            continue
        key = uuid7()
        try:
            with transaction.atomic():
                organization = Organization(
                    id=key,
                    schema_name=f"org_{key.hex}",
                    name=name,
                    slug=candidate,
                    created_at=now,
                )
                organization.save(force_insert=True)
        except IntegrityError:
            continue
        return organization
    raise UnableToUseSlug(f"Another organization uses the address “{candidates[0]}”.")


def _slug_candidates(name: str) -> list[str]:
    base = slugify(name)[:SLUG_LENGTH_MAX].strip("-_").replace("_", "-") or "team"
    short = base[: SLUG_LENGTH_MAX - 7].strip("-")
    return [base, *(f"{short}-{random_base62(6).lower()}" for _ in range(5))]


def _checked_name(name: str) -> str:
    name = " ".join(name.split())
    if not name or len(name) > NAME_LENGTH_MAX:
        raise Invalid.at("/name", f"Give a name of 1 to {NAME_LENGTH_MAX} characters.")
    return name


def _check_owned_count(owner: AbstractBaseUser) -> None:
    owned = Membership.objects.filter(user_id=owner.pk, role=Role.OWNER).count()
    if owned >= OWNED_COUNT_MAX:
        raise TooManyOrganizations(f"One person can own {OWNED_COUNT_MAX} organizations.")


def _locked(membership: Membership) -> Membership:
    """Lock the organization's row first, so that two owners can not leave at once.

    Raises:
        NotFound: they left meanwhile.
        RoleChanged: they have another role than the one by which it was decided who may do this.
    """
    organization_hold(membership.organization_id)
    found = Membership.objects.select_related("user", "organization").filter(pk=membership.pk)
    locked = found.first()
    if locked is None:
        raise NotFound
    if locked.role != membership.role:
        raise RoleChanged("They were given another role a moment ago. Look again, and decide anew.")
    return locked


def _check_other_owner(membership: Membership) -> None:
    if not owner_query(membership.organization_id).exclude(pk=membership.pk).exists():
        raise UnableToLeaveWithoutOwner("Make someone else an owner first.")


def _record(
    actor: Person | AbstractBaseUser,
    organization: Organization,
    action: str,
    target: Organization | Membership,
    *,
    before: dict[str, object] | None = None,
    after: dict[str, object] | None = None,
) -> None:
    """Write to the organization's trail in the transaction that is open."""
    is_member = isinstance(target, Membership)
    with tenant_context(organization.schema_name):
        audit_record(
            access_or_actor=actor,  # type: ignore[arg-type]  # every user has an e-mail address here.
            action=action,
            target_type="member" if is_member else "organization",
            target_id=target.user_id if is_member else target.pk,
            target_label=organization.name if not is_member else target.user.email,
            before=before,
            after=after,
        )
