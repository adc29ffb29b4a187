"""The catalogue over the API."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from portal.plans.presentation import budget_json, plan_json, region_json
from portal.plans.selectors import NODE_COUNTS, fault_budget, plan_list, region_list


class PlansView(APIView):
    """Plans with limits, prices and fault budgets."""

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        """Answer every plan."""
        del request
        budgets = [budget_json(fault_budget(n)) for n in NODE_COUNTS]
        plans = [plan_json(offer) for offer in plan_list()]
        return Response({"results": plans, "next": None, "fault_budgets": budgets})


class RegionsView(APIView):
    """Where clusters can run."""

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        """Answer every region."""
        del request
        return Response({"results": [region_json(r) for r in region_list()], "next": None})
