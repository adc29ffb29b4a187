"""Routes about the caller, organizations, members, invitations and tokens."""

from dataclasses import replace
from typing import Any, cast
from uuid import UUID

from django.db.models import Model, QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from portal.access.guards import member, require
from portal.access.invitations import invitation_create, invitation_resend, invitation_revoke
from portal.access.permissions import ALL_PERMISSIONS, PERMISSIONS
from portal.access.resolving import access_of
from portal.access.roles import role_create, role_list
from portal.access.selectors import invitation_query
from portal.access.services import (
    member_change_role,
    member_leave,
    member_remove,
)
from portal.access.types import Access
from portal.accounts.models import AccessToken, User
from portal.accounts.services import token_create, token_revoke, user_rename
from portal.api import presentation as shapes
from portal.api.serializers import (
    CustomRoleInput,
    InvitationInput,
    MeInput,
    OrganizationInput,
    OrganizationPatch,
    RoleInput,
    TokenInput,
)
from portal.audit.services import audit_record
from portal.core.errors import Forbidden, Invalid, NotFound
from portal.core.pagination import NewestFirst, OldestFirst
from portal.core.serializers import StrictSerializer
from portal.core.tenancy import public_context, tenant_context
from portal.identity.stepup import require_recent
from portal.organizations.models import Membership
from portal.organizations.selectors import member_query, memberships_of
from portal.organizations.services import organization_create, organization_rename

OBJECT = OpenApiTypes.OBJECT
CREATED = 201


def valid[S: StrictSerializer](kind: type[S], request: Request) -> dict[str, Any]:
    """Return the checked body."""
    serializer = kind(data=request.data)
    serializer.is_valid(raise_exception=True)
    return cast("dict[str, Any]", serializer.validated_data)


def caller(request: Request) -> User:
    """Return who calls; the framework has refused everyone else."""
    user = request.user
    assert isinstance(user, User)
    return user


def organizations_of(request: Request) -> list[Access]:
    """Return what the caller may do in each of their organizations (a statement for each).

    A token that is for one organization does not tell of the others.
    """
    user, token = caller(request), getattr(request, "access_token", None)
    found: list[Access] = []
    for row in memberships_of(user.pk):
        if token is not None and token.organization_id not in {None, row.organization_id}:
            continue
        with tenant_context(row.organization.schema_name):
            found.append(access_of(user, row, token))
    return found


def page_of[M: Model](
    view: APIView, found: QuerySet[M], shape: Any, *, pages: NewestFirst
) -> Response:
    """Answer one page of the query."""
    rows = pages.paginate_queryset(found, view.request, view=view) or []
    return pages.get_paginated_response([shape(row) for row in rows])


class MeView(APIView):
    """The caller."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request) -> Response:
        """Describe the caller with organizations and permissions."""
        return Response(shapes.me_json(caller(request), organizations_of(request)))

    @extend_schema(request=MeInput, responses=OBJECT)
    def patch(self, request: Request) -> Response:
        """Change the display name."""
        user = caller(request)
        user_rename(user=user, name=valid(MeInput, request)["name"])
        return Response(shapes.me_json(user, organizations_of(request)))


class OrganizationsView(APIView):
    """The caller's organizations."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request) -> Response:
        """List them; one person's organizations fit on one page."""
        found = [shapes.organization_json(access) for access in organizations_of(request)]
        return Response({"results": found, "next": None})

    @extend_schema(request=OrganizationInput, responses={201: OBJECT})
    def post(self, request: Request) -> Response:
        """Make one; the caller owns it."""
        token = getattr(request, "access_token", None)
        if isinstance(token, AccessToken) and token.organization_id is not None:
            raise Forbidden("This token is for one organization.")
        data = valid(OrganizationInput, request)
        organization = organization_create(owner=caller(request), **data)
        made = next(row for row in organizations_of(request) if row.organization == organization)
        return Response(shapes.organization_json(made), status=CREATED)


class OrganizationView(APIView):
    """One organization."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str) -> Response:
        """Describe it."""
        return Response(shapes.organization_json(member(request)))

    @extend_schema(request=OrganizationPatch, responses=OBJECT)
    def patch(self, request: Request, slug: str) -> Response:
        """Rename it."""
        access = require(request, "organization:write")
        name = valid(OrganizationPatch, request)["name"]
        changed = organization_rename(
            actor=access.user, organization=access.organization, name=name
        )
        return Response(shapes.organization_json(replace(access, organization=changed)))


class MembersView(APIView):
    """The members."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str) -> Response:
        """List them."""
        access = require(request, "members:read")
        with public_context():
            found = member_query(access.organization)
            return page_of(self, found, shapes.member_json, pages=OldestFirst())


class MemberView(APIView):
    """One member."""

    @extend_schema(request=RoleInput, responses=OBJECT)
    def patch(self, request: Request, slug: str, member_id: UUID) -> Response:
        """Give another role."""
        access = require(request, "members:write")
        require_recent(request, action="role.grant")
        role = valid(RoleInput, request)["role"]
        changed: Membership = member_change_role(access, member_id=member_id, role=role)
        return Response(shapes.member_json(changed))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, slug: str, member_id: UUID) -> Response:
        """Take them out; anyone may leave."""
        access = require(request, "members:read")
        member_remove(access, member_id=member_id)
        return Response(status=204)


class LeavingView(APIView):
    """The caller's own membership."""

    @extend_schema(responses={204: None})
    def delete(self, request: Request, slug: str) -> Response:
        """Leave; anyone may, but the last owner."""
        member_leave(member(request))
        return Response(status=204)


class InvitationsView(APIView):
    """Open invitations."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str) -> Response:
        """List them."""
        require(request, "members:read")
        return page_of(self, invitation_query(), shapes.invitation_json, pages=NewestFirst())

    @extend_schema(request=InvitationInput, responses={201: OBJECT})
    def post(self, request: Request, slug: str) -> Response:
        """Invite by mail."""
        access = require(request, "members:write")
        require_recent(request, action="role.grant")
        invitation, _ = invitation_create(access, **valid(InvitationInput, request))
        return Response(shapes.invitation_json(invitation), status=CREATED)


class InvitationView(APIView):
    """One invitation."""

    @extend_schema(responses={204: None})
    def delete(self, request: Request, slug: str, invitation_id: UUID) -> Response:
        """Revoke it."""
        access = require(request, "members:write")
        invitation_revoke(access, invitation_id=invitation_id)
        return Response(status=204)


class InvitationResendView(APIView):
    """Sending again."""

    @extend_schema(request=None, responses=OBJECT)
    def post(self, request: Request, slug: str, invitation_id: UUID) -> Response:
        """Send it once more by a new link, for as long as the first time; the old link ends."""
        access = require(request, "members:write")
        require_recent(request, action="role.grant")
        invitation, _ = invitation_resend(access, invitation_id=invitation_id)
        return Response(shapes.invitation_json(invitation))


class RolesView(APIView):
    """The roles."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str) -> Response:
        """List what each may do, the built-in ones first; there are at most 50 others."""
        require(request, "members:read")
        rows = [shapes.role_json(role, may) for role, may in PERMISSIONS.items()]
        rows += [shapes.custom_role_json(role) for role in role_list()]
        return Response({"results": rows, "next": None})

    @extend_schema(request=CustomRoleInput, responses={201: OBJECT})
    def post(self, request: Request, slug: str) -> Response:
        """Make a role of the organization's own."""
        access = require(request, "roles:write")
        role = role_create(access, **valid(CustomRoleInput, request))
        return Response(shapes.custom_role_json(role), status=CREATED)


class TokensView(APIView):
    """The caller's tokens for this organization."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str) -> Response:
        """List those that work."""
        access = require(request, "tokens:write")
        with public_context():
            found = AccessToken.objects.filter(
                user=access.user, organization=access.organization, revoked_at=None
            )
            return page_of(self, found, shapes.token_json, pages=NewestFirst())

    @extend_schema(request=TokenInput, responses={201: OBJECT})
    def post(self, request: Request, slug: str) -> Response:
        """Make one; the answer alone holds the secret."""
        access = require(request, "tokens:write")
        require_recent(request, action="token.create")
        data = valid(TokenInput, request)
        scopes = sorted(set(data.get("scopes", []))) or sorted(_inherited_scopes(request))
        if unknown := [scope for scope in scopes if scope not in ALL_PERMISSIONS]:
            words = f"Unknown: {', '.join(unknown)}."
            raise Invalid.at("/scopes", words)
        if beyond := [scope for scope in scopes if scope not in access.permissions]:
            raise Forbidden(permission=beyond[0])
        token, secret = token_create(
            user=access.user,
            organization=access.organization,
            name=data["name"],
            expires_at=data.get("expires"),
            scopes=scopes,
        )
        audit_record(
            access_or_actor=access,
            action="token.created",
            target_type="token",
            target_id=token.pk,
            target_label=token.name,
            after={"scopes": scopes},
        )
        return Response(shapes.token_json(token, secret), status=CREATED)


class TokenView(APIView):
    """One token."""

    @extend_schema(responses={204: None})
    def delete(self, request: Request, slug: str, token_id: UUID) -> Response:
        """Revoke it."""
        access = require(request, "tokens:write")
        token = token_revoke(user=access.user, token_id=token_id)
        if token is None:
            raise NotFound
        audit_record(
            access_or_actor=access,
            action="token.revoked",
            target_type="token",
            target_id=token.pk,
            target_label=token.name,
        )
        return Response(status=204)


def _inherited_scopes(request: Request) -> list[str]:
    """Return the scopes of the token that makes a token: it can not give itself more."""
    token = getattr(request, "access_token", None)
    return list(token.scopes) if isinstance(token, AccessToken) else []
