"""Routes of teams, grants, labels, custom roles and requests for more."""

from uuid import UUID

from django.db.models import Prefetch
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from portal.access.bindings import Principal, binding_grant, binding_revoke
from portal.access.elevation import (
    APPROVING,
    elevation_approve,
    elevation_deny,
    elevation_end,
    elevation_list,
    elevation_request,
)
from portal.access.explaining import access_explain
from portal.access.guards import member, require, require_everywhere
from portal.access.labels import labels_of, labels_set
from portal.access.models import Team, TeamMember
from portal.access.resolving import live_bindings
from portal.access.roles import role_delete, role_get, role_preview, role_update
from portal.access.teams import (
    team_create,
    team_delete,
    team_get,
    team_member_add,
    team_member_remove,
    team_rename,
)
from portal.access.types import Scope
from portal.api import presentation as shapes
from portal.api.serializers import (
    ConfirmInput,
    CustomRolePatch,
    ElevationInput,
    ExplainInput,
    GrantInput,
    LabelsInput,
    PreviewInput,
    TeamInput,
    TeamMemberInput,
)
from portal.api.views import CREATED, page_of, valid
from portal.clusters.selectors import cluster_get
from portal.core.pagination import NewestFirst, OldestFirst
from portal.identity.stepup import require_recent

OBJECT = OpenApiTypes.OBJECT


class TeamsView(APIView):
    """The teams of an organization."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str) -> Response:
        """List them with the ids of their people."""
        require_everywhere(request, "members:read")
        people = Prefetch("members", queryset=TeamMember.objects.order_by("pk"))
        found = Team.objects.prefetch_related(people)
        return page_of(self, found, shapes.team_json, pages=OldestFirst())

    @extend_schema(request=TeamInput, responses={201: OBJECT})
    def post(self, request: Request, slug: str) -> Response:
        """Make one."""
        access = require_everywhere(request, "members:write")
        team = team_create(access, **valid(TeamInput, request))
        return Response(shapes.team_json(team), status=CREATED)


class TeamView(APIView):
    """One team."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str, team_id: UUID) -> Response:
        """Describe it."""
        require_everywhere(request, "members:read")
        return Response(shapes.team_json(team_get(team_id)))

    @extend_schema(request=TeamInput, responses=OBJECT)
    def patch(self, request: Request, slug: str, team_id: UUID) -> Response:
        """Give it another name."""
        access = require_everywhere(request, "members:write")
        team = team_rename(access, team_id=team_id, **valid(TeamInput, request))
        return Response(shapes.team_json(team))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, slug: str, team_id: UUID) -> Response:
        """Remove it with what it was granted."""
        access = require_everywhere(request, "members:write")
        team_delete(access, team_id=team_id)
        return Response(status=204)


class TeamMembersView(APIView):
    """The people of a team."""

    @extend_schema(request=TeamMemberInput, responses=OBJECT)
    def post(self, request: Request, slug: str, team_id: UUID) -> Response:
        """Put a member of the organization into it."""
        access = require_everywhere(request, "members:write")
        require_recent(request, action="role.grant")
        team_member_add(access, team_id=team_id, user_id=valid(TeamMemberInput, request)["user"])
        return Response(shapes.team_json(team_get(team_id)))


class TeamMemberView(APIView):
    """One person of a team."""

    @extend_schema(responses={204: None})
    def delete(self, request: Request, slug: str, team_id: UUID, user_id: UUID) -> Response:
        """Take them out."""
        access = require_everywhere(request, "members:write")
        team_member_remove(access, team_id=team_id, user_id=user_id)
        return Response(status=204)


class BindingsView(APIView):
    """What is granted beside the roles of members."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str) -> Response:
        """List the grants that hold now, newest first."""
        require_everywhere(request, "members:read")
        return page_of(self, live_bindings(), shapes.binding_json, pages=NewestFirst())

    @extend_schema(request=GrantInput, responses={201: OBJECT})
    def post(self, request: Request, slug: str) -> Response:
        """Grant a role to a member or a team; the caller confirms it by password or code."""
        access = require_everywhere(request, "members:write")
        data = valid(GrantInput, request)
        proof = data["password"]
        require_recent(request, action="role.grant", proof=proof, tokens_pass=False)
        binding = binding_grant(
            access,
            principal=Principal(data["principal"]["user"], data["principal"]["team"]),
            role=data["role"],
            scope=Scope(data["scope"]["kind"], data["scope"]["value"]),
            expires_at=data["expires"],
            reason=data["reason"],
        )
        return Response(shapes.binding_json(binding), status=CREATED)


class BindingView(APIView):
    """One grant."""

    @extend_schema(responses={204: None})
    def delete(self, request: Request, slug: str, binding_id: UUID) -> Response:
        """Revoke it."""
        access = require_everywhere(request, "members:write")
        binding_revoke(access, binding_id=binding_id)
        return Response(status=204)


class RoleView(APIView):
    """One role of the organization's own."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str, role_id: UUID) -> Response:
        """Describe it."""
        require_everywhere(request, "members:read")
        return Response(shapes.custom_role_json(role_get(role_id)))

    @extend_schema(request=CustomRolePatch, responses=OBJECT)
    def put(self, request: Request, slug: str, role_id: UUID) -> Response:
        """Change it for everybody who has it; the caller confirms it by password or code."""
        access = require_everywhere(request, "roles:write")
        data = valid(CustomRolePatch, request)
        proof = data.pop("password")
        require_recent(request, action="role.change", proof=proof, tokens_pass=False)
        return Response(shapes.custom_role_json(role_update(access, role_id=role_id, **data)))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, slug: str, role_id: UUID) -> Response:
        """Remove it, if nobody has it."""
        access = require_everywhere(request, "roles:write")
        role_delete(access, role_id=role_id)
        return Response(status=204)


class RolePreviewView(APIView):
    """Whom a change of a role would concern."""

    @extend_schema(request=PreviewInput, responses=OBJECT)
    def post(self, request: Request, slug: str, role_id: UUID) -> Response:
        """Say who would gain and lose what; nothing is changed."""
        access = require_everywhere(request, "roles:write")
        wanted = valid(PreviewInput, request)["permissions"]
        changes = role_preview(access, role_get(role_id), wanted)
        return Response({"results": [shapes.change_json(row) for row in changes], "next": None})


class ExplainView(APIView):
    """Why somebody may do something."""

    @extend_schema(request=ExplainInput, responses=OBJECT)
    def post(self, request: Request, slug: str) -> Response:
        """Name the role and the grants that allow it, or the roles that would."""
        access = member(request)
        data = valid(ExplainInput, request)
        found = access_explain(
            access,
            user_id=data["user"] or access.user.pk,
            permission=data["permission"],
            cluster_id=data["cluster"],
        )
        return Response(shapes.explanation_json(found))


class ElevationsView(APIView):
    """Requests for more for some hours."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str) -> Response:
        """List one's own, or everybody's for those who may approve; newest first."""
        found = elevation_list(member(request))
        return page_of(self, found, shapes.elevation_json, pages=NewestFirst())

    @extend_schema(request=ElevationInput, responses={201: OBJECT})
    def post(self, request: Request, slug: str) -> Response:
        """Ask for a role; somebody else approves it."""
        access = member(request)
        data = valid(ElevationInput, request)
        asked = elevation_request(
            access,
            role=data["role"],
            scope=Scope(data["scope"]["kind"], data["scope"]["value"]),
            minutes=data["minutes"],
            reason=data["reason"],
        )
        return Response(shapes.elevation_json(asked), status=CREATED)


class ElevationView(APIView):
    """One request."""

    @extend_schema(responses={204: None})
    def delete(self, request: Request, slug: str, elevation_id: UUID) -> Response:
        """Withdraw one's own, or give back what was approved."""
        elevation_end(member(request), elevation_id=elevation_id)
        return Response(status=204)


class ElevationApproveView(APIView):
    """Approving."""

    @extend_schema(request=ConfirmInput, responses=OBJECT)
    def post(self, request: Request, slug: str, elevation_id: UUID) -> Response:
        """Grant what somebody else asked for; the caller confirms it by password or code."""
        access = require_everywhere(request, APPROVING)
        proof = valid(ConfirmInput, request)["password"]
        require_recent(request, action="role.grant", proof=proof, tokens_pass=False)
        asked = elevation_approve(access, elevation_id=elevation_id)
        return Response(shapes.elevation_json(asked))


class ElevationDenyView(APIView):
    """Denying."""

    @extend_schema(request=None, responses=OBJECT)
    def post(self, request: Request, slug: str, elevation_id: UUID) -> Response:
        """Refuse it."""
        access = require_everywhere(request, APPROVING)
        asked = elevation_deny(access, elevation_id=elevation_id)
        return Response(shapes.elevation_json(asked))


class LabelsView(APIView):
    """The labels of a cluster, by which grants mean it."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """List them."""
        require(request, "clusters:read")
        return Response({"labels": labels_of(cluster_get(cluster_id).pk)})

    @extend_schema(request=LabelsInput, responses=OBJECT)
    def put(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Give it these and no others."""
        access = require_everywhere(request, "members:write")
        require_recent(request, action="role.grant")
        labels = labels_set(access, cluster_id=cluster_id, **valid(LabelsInput, request))
        return Response({"labels": labels})
