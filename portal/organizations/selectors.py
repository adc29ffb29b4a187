"""Reading organizations and memberships; all of it in the public schema."""

from uuid import UUID

from django.db.models import QuerySet

from portal.core.tenancy import public_context
from portal.organizations.models import Membership, Organization, Role


def memberships_of(user_id: UUID) -> list[Membership]:
    """Return the organizations of a user, by name, each with the role."""
    with public_context():
        return list(
            Membership.objects.filter(user=user_id, organization__deleted_at=None)
            .select_related("organization")
            .order_by("organization__name", "pk")
        )


def membership_get(*, user_id: UUID, slug: str) -> Membership | None:
    """Return the membership by which a user enters an organization."""
    with public_context():
        return (
            Membership.objects.filter(
                user=user_id, organization__slug=slug, organization__deleted_at=None
            )
            .select_related("organization")
            .first()
        )


def member_list(organization: Organization) -> list[Membership]:
    """Return everyone in the organization, oldest first."""
    with public_context():
        return list(member_query(organization))


def member_find(organization: Organization, user_id: UUID | None) -> Membership | None:
    """Return by what somebody belongs to the organization, if they do."""
    with public_context():
        found = member_query(organization).filter(user=user_id)
        return found.select_related("user", "organization").first()


def member_query(organization: Organization) -> QuerySet[Membership]:
    """Return the members as a query; evaluate it in the public schema."""
    return (
        Membership.objects.filter(organization=organization).select_related("user").order_by("pk")
    )


def owner_query(organization_id: UUID) -> QuerySet[Membership]:
    """Return the owners who can still sign in; evaluate it in the public schema."""
    return Membership.objects.filter(
        organization=organization_id, role=Role.OWNER, user__is_active=True
    )
