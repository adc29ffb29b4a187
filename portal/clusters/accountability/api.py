"""Evidence over the API."""

from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from portal.access.guards import require
from portal.clusters.accountability.presentation import evidence_json
from portal.clusters.accountability.selectors import evidence_list
from portal.clusters.selectors import cluster_get
from portal.core.pagination import NewestFirst


class EvidenceView(APIView):
    """Proofs that nodes of a cluster lied."""

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """List them, newest first; each can be checked offline."""
        require(request, "clusters:read")
        cluster = cluster_get(cluster_id)
        pages = NewestFirst()
        rows = pages.paginate_queryset(evidence_list(cluster), request, view=self) or []
        return pages.get_paginated_response([evidence_json(row, cluster) for row in rows])
