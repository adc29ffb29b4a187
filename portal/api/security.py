"""The route about what an organization asks of those who enter."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from portal.access.guards import require_everywhere
from portal.access.security import policy_set
from portal.access.types import Access
from portal.api.serializers import SecurityPolicyInput
from portal.api.views import valid
from portal.identity.entry import members_without
from portal.identity.stepup import is_by_token, require_recent
from portal.organizations.models import Organization
from portal.organizations.security import FACTORS, SecurityPolicy, policy_of

OBJECT = OpenApiTypes.OBJECT


def _answer(organization: Organization, policy: SecurityPolicy) -> Response:
    without = [member.user.email for member in members_without(organization, policy)]
    return Response({**policy.json, "without": without})


class SecurityPolicyView(APIView):
    """Whether a second factor is required."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str) -> Response:
        """Describe it, with the members who have no factor that counts."""
        access = require_everywhere(request, "organization:write")
        return _answer(access.organization, policy_of(access.organization.security))

    @extend_schema(request=SecurityPolicyInput, responses=OBJECT)
    def put(self, request: Request, slug: str) -> Response:
        """Set it, or with `dry_run` say who would be without."""
        access: Access = require_everywhere(request, "organization:write")
        data = valid(SecurityPolicyInput, request)
        policy = SecurityPolicy(
            data["mfa_required"], tuple(kind for kind in FACTORS if kind in data["factors"])
        )
        if not data["dry_run"]:
            require_recent(request, action="organization.policy")
            policy_set(access, None if is_by_token(request) else request.session, policy)
        return _answer(access.organization, policy)
