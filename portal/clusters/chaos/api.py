"""Experiments over the API."""

from typing import Any
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from portal.access.guards import require
from portal.clusters import presentation as shapes
from portal.clusters.chaos import services
from portal.clusters.chaos.presentation import experiment_json, record_json
from portal.clusters.chaos.serializers import ExperimentInput, SandboxInput
from portal.clusters.constants import TIMELINE_PAGE
from portal.clusters.models import Experiment, ExperimentRecord, Operation
from portal.clusters.selectors import cluster_get, experiment_get, experiment_list, operation_get
from portal.core.errors import Invalid
from portal.core.pagination import NewestFirst
from portal.identity.stepup import require_recent

OBJECT = OpenApiTypes.OBJECT
ACCEPTED = 202
AFTER = OpenApiParameter("after", int, description="The id of the last record that was read.")
DIGITS_MAX = 18


def _accepted(experiment: Experiment, operation: Operation) -> Response:
    body = {
        "experiment": experiment_json(experiment),
        "operation": shapes.operation_json(operation_get(operation.pk)),
    }
    return Response(body, status=ACCEPTED)


class ExperimentsView(APIView):
    """Experiments of a cluster."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """List them, newest first."""
        require(request, "clusters:read")
        pages = NewestFirst()
        found = experiment_list(cluster_get(cluster_id))
        rows = pages.paginate_queryset(found, request, view=self) or []
        return pages.get_paginated_response([experiment_json(row) for row in rows])

    @extend_schema(request=ExperimentInput, responses={202: OBJECT})
    def post(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Break nodes for five minutes; answers with the operation that does it."""
        access = require(request, "clusters:break")
        cluster = cluster_get(cluster_id)
        data = _valid(ExperimentInput(data=request.data))
        proof = data["password"]
        require_recent(request, action="cluster.break", proof=proof, tokens_pass=False)
        faults: dict[int, str] = {}
        for fault in data["faults"]:
            if fault["node"] in faults:
                detail = "One node is broken in one way at a time."
                raise Invalid(errors=[{"pointer": "/faults", "detail": detail}])
            faults[fault["node"]] = fault["behaviour"]
        experiment, operation = services.experiment_start(
            access, cluster, faults=faults, beyond_f=data["beyond_f"], confirm=data["confirm"]
        )
        return _accepted(experiment, operation)


class ExperimentView(APIView):
    """One experiment."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID, experiment_id: UUID) -> Response:
        """Describe it."""
        require(request, "clusters:read")
        return Response(experiment_json(experiment_get(cluster_get(cluster_id), experiment_id)))


class TimelineView(APIView):
    """What happened in an experiment."""

    @extend_schema(parameters=[AFTER], responses=OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID, experiment_id: UUID) -> Response:
        """Answer seconds and events in order, behind those that were read."""
        require(request, "clusters:read")
        experiment = experiment_get(cluster_get(cluster_id), experiment_id)
        text = request.query_params.get("after", "0")
        if not (text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX):
            detail = "after is the id of a record"
            raise Invalid(errors=[{"pointer": "/after", "detail": detail}])
        found = ExperimentRecord.objects.filter(experiment=experiment, pk__gt=int(text))
        rows = list(found[:TIMELINE_PAGE])
        return Response(
            {
                "experiment": experiment_json(experiment),
                "results": [record_json(row) for row in rows],
                "next": rows[-1].pk if len(rows) == TIMELINE_PAGE else None,
            }
        )


class RevertView(APIView):
    """Ending an experiment."""

    @extend_schema(request=None, responses={202: OBJECT})
    def post(self, request: Request, slug: str, cluster_id: UUID, experiment_id: UUID) -> Response:
        """Put every node back now."""
        access = require(request, "clusters:break")
        experiment = experiment_get(cluster_get(cluster_id), experiment_id)
        operation = services.experiment_revert(access, experiment, reason="manual")
        experiment.refresh_from_db()
        return _accepted(experiment, operation)


class SandboxView(APIView):
    """Whether a cluster may be broken on purpose."""

    @extend_schema(request=SandboxInput, responses=OBJECT)
    def put(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Say that it is a sandbox, or that it is none."""
        access = require(request, "clusters:break")
        cluster = cluster_get(cluster_id)
        data = _valid(SandboxInput(data=request.data))
        services.sandbox_set(access, cluster, is_sandbox=data["sandbox"])
        return Response(shapes.cluster_json(cluster_get(cluster_id)))


def _valid(serializer: ExperimentInput | SandboxInput) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    found: dict[str, Any] = serializer.validated_data
    return found
