"""Short-lived tokens over the API."""

from typing import Any, cast
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from portal.access.guards import require
from portal.clusters.presentation import moment
from portal.clusters.selectors import cluster_get
from portal.clusters.serializers import TokenInput
from portal.clusters.tokens import issuer_rotate, token_create, token_revoke
from portal.identity.stepup import require_recent

OBJECT = OpenApiTypes.OBJECT


class TokenView(APIView):
    """Tokens of the caller."""

    @extend_schema(request=TokenInput, responses={201: OBJECT})
    def post(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Mint one, good on every node for some minutes; it is answered this once."""
        access = require(request, "clusters:read")
        serializer = TokenInput(data=request.data)
        serializer.is_valid(raise_exception=True)
        data = cast("dict[str, Any]", serializer.validated_data)
        minted = token_create(access, cluster_get(cluster_id), **data)
        body = {
            "token": minted.token,
            "id": minted.id,
            "scopes": list(minted.scopes),
            "collections": list(minted.collections),
            "expires": moment(minted.expires),
        }
        return Response(body, status=201, headers={"Cache-Control": "no-store"})


class TokenRevocationView(APIView):
    """One token."""

    @extend_schema(responses={204: None})
    def delete(self, request: Request, slug: str, cluster_id: UUID, token_id: str) -> Response:
        """Revoke it on every node."""
        token_revoke(require(request, "keys:write"), cluster_get(cluster_id), token_id)
        return Response(status=204)


class TokenKeyView(APIView):
    """The key that signs the tokens of a cluster."""

    @extend_schema(request=None, responses=OBJECT)
    def post(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Replace it; tokens signed with the old one are good until they expire."""
        access = require(request, "keys:write")
        require_recent(request, action="cluster.key")
        return Response({"issuer": issuer_rotate(access, cluster_get(cluster_id)).token_issuer})
