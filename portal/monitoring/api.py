"""History of a cluster's figures over the API."""

from datetime import timedelta
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from portal.access.guards import require
from portal.clusters.selectors import cluster_get
from portal.core import clock
from portal.core.errors import Invalid
from portal.monitoring.constants import RETENTION
from portal.monitoring.selectors import observation_get, resolution_for, sample_list

SPAN_DEFAULT_S = 900
SPAN_MAX_S = int(RETENTION[max(RETENTION)].total_seconds())
SPAN = OpenApiParameter("span", int, description="Seconds to look back, 900 unless given.")


class MetricsView(APIView):
    """Throughput, latency, sequence and sizes over a span."""

    @extend_schema(parameters=[SPAN], responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Answer samples, oldest first, at the finest resolution kept for the span."""
        require(request, "clusters:read")
        cluster = cluster_get(cluster_id)
        span = _span_asked(request.query_params.get("span"))
        end = clock.now()
        resolution = resolution_for(span)
        observation = observation_get(cluster.pk)
        return Response(
            {
                "resolution_s": resolution,
                "results": sample_list(
                    cluster.pk, start=end - span, end=end, resolution=resolution
                ),
                "last": None if observation is None else observation.frame,
            }
        )


def _span_asked(text: str | None) -> timedelta:
    """Read the `span` parameter.

    Raises:
        Invalid: It is not a number of seconds within what is kept.
    """
    if text is None:
        return timedelta(seconds=SPAN_DEFAULT_S)
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:12]) <= SPAN_MAX_S:
        detail = f"span is a number of seconds from 1 to {SPAN_MAX_S}"
        raise Invalid(errors=[{"pointer": "/span", "detail": detail}])
    return timedelta(seconds=int(text))
