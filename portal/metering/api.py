"""Usage and costs of an organization over the API."""

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from portal.access.guards import require
from portal.core import clock
from portal.metering.parameters import chart_span, month_asked, width_asked
from portal.metering.presentation import (
    CostsJson,
    UsageJson,
    costs_csv,
    costs_json,
    usage_csv,
    usage_json,
)
from portal.metering.selectors import costs_of, series_of, usage_of

MONTH = OpenApiParameter("month", str, description="A UTC month such as 2026-11; default: now.")
BY = OpenApiParameter("by", str, enum=["day", "hour"], description="Width of the chart's bars.")
CSV = {(200, "text/csv"): OpenApiTypes.STR}


class UsageView(APIView):
    """What was used in a month."""

    @extend_schema(parameters=[MONTH, BY], responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, slug: str) -> Response:
        """Answer sums by cluster and the series of the chart."""
        require(request, "usage:read")
        period = month_asked(request.query_params.get("month"))
        by = width_asked(request.query_params.get("by"))
        points = series_of(chart_span(period, by=by), by=by)
        body: UsageJson = usage_json(usage_of(period), by=by, points=points)
        return Response(body)


class CostsView(APIView):
    """The running month in money."""

    @extend_schema(parameters=[MONTH], responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, slug: str) -> Response:
        """Answer lines, total and forecast."""
        require(request, "billing:read")
        period = month_asked(request.query_params.get("month"))
        body: CostsJson = costs_json(costs_of(period, now=clock.now()))
        return Response(body)


class UsageCsvView(APIView):
    """Usage as a file."""

    @extend_schema(parameters=[MONTH], responses=CSV)
    def get(self, request: Request, slug: str) -> HttpResponse:
        """Answer one row a cluster and meter."""
        require(request, "usage:read")
        period = month_asked(request.query_params.get("month"))
        return _file(usage_csv(usage_of(period)), f"usage-{slug}-{period.start:%Y-%m}.csv")


class CostsCsvView(APIView):
    """Costs as a file."""

    @extend_schema(parameters=[MONTH], responses=CSV)
    def get(self, request: Request, slug: str) -> HttpResponse:
        """Answer one row a line."""
        require(request, "billing:read")
        period = month_asked(request.query_params.get("month"))
        costs = costs_of(period, now=clock.now())
        return _file(costs_csv(costs), f"costs-{slug}-{period.start:%Y-%m}.csv")


def _file(content: str, name: str) -> HttpResponse:
    """Answer a CSV download."""
    response = HttpResponse(content, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    return response
