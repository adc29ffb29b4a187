"""The catalogue over the API."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from portal.plans.presentation import budget_json, plan_json
from portal.plans.selectors import fault_budget, plan_list, region_list


class PlansView(APIView):
    """Plans with limits, prices and fault budgets."""

    permission_classes = (AllowAny,)

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        """Answer the whole catalogue."""
        plans = plan_list()
        sizes = sorted({count for plan in plans for count in plan.node_counts})
        budgets = [budget_json(fault_budget(count)) for count in sizes]
        return Response(
            {"results": [plan_json(plan) for plan in plans], "sizes": budgets, "next": None}
        )


class RegionsView(APIView):
    """Regions."""

    permission_classes = (AllowAny,)

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        """Answer where nodes can be placed."""
        regions = [{"code": region.code, "name": region.name} for region in region_list()]
        return Response({"results": regions, "next": None})
