"""Clusters, operations and keys over the API."""

from typing import Any, cast
from uuid import UUID

import msgspec
from django.db.models import Model, QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from portal.access.guards import require, require_at, require_somewhere
from portal.clusters import presentation as shapes
from portal.clusters import serializers as inputs
from portal.clusters import services
from portal.clusters.constants import LOG_LINES_MAX
from portal.clusters.errors import UnableToChangeCluster
from portal.clusters.models import Cluster, Operation
from portal.clusters.ports import DriverError
from portal.clusters.provisioners.process import driver
from portal.clusters.selectors import (
    anchor_get,
    cluster_get,
    cluster_list,
    key_get,
    key_list,
    node_get,
    operation_get,
    operation_list,
)
from portal.core.errors import Invalid
from portal.core.pagination import NewestFirst
from portal.core.serializers import StrictSerializer
from portal.identity.stepup import require_recent
from portal.plans.presentation import estimate_json, resize_json
from portal.plans.selectors import estimate

OBJECT = OpenApiTypes.OBJECT
ACCEPTED = 202
CREATED = 201
LINES_DEFAULT = 200
DELETED = OpenApiParameter("deleted", bool, description="Also those in the recycle bin.")
OF_CLUSTER = OpenApiParameter("cluster", OpenApiTypes.UUID, description="Of one cluster only.")
LINES = OpenApiParameter("lines", int, description=f"How many, at most {LOG_LINES_MAX}.")


def _valid[S: StrictSerializer](kind: type[S], request: Request) -> dict[str, Any]:
    serializer = kind(data=request.data)
    serializer.is_valid(raise_exception=True)
    return cast("dict[str, Any]", serializer.validated_data)


def _page[M: Model](view: APIView, found: QuerySet[M], shape: Any) -> Response:
    pages = NewestFirst()
    rows = pages.paginate_queryset(found, view.request, view=view) or []
    return pages.get_paginated_response([shape(row) for row in rows])


def _accepted(cluster: Cluster, operation: Operation) -> Response:
    """Answer that work has begun, and where to watch it."""
    body = {
        "operation": shapes.operation_json(operation_get(operation.pk)),
        "cluster": shapes.cluster_json(cluster_list(with_deleted=True).get(pk=cluster.pk)),
    }
    return Response(body, status=ACCEPTED)


class ClustersView(APIView):
    """The clusters of an organization."""

    @extend_schema(parameters=[DELETED], responses=OBJECT)
    def get(self, request: Request, slug: str) -> Response:
        """List them, newest first."""
        access = require_somewhere(request, "clusters:read")
        with_deleted = request.query_params.get("deleted") in {"1", "true"}
        found = cluster_list(with_deleted=with_deleted, visible=access.clusters_visible())
        return _page(self, found, shapes.cluster_json)

    @extend_schema(request=inputs.ClusterInput, responses={202: OBJECT})
    def post(self, request: Request, slug: str) -> Response:
        """Create one; answers at once with the operation that makes it."""
        access = require(request, "clusters:write")
        data = _valid(inputs.ClusterInput, request)
        cluster, operation = services.cluster_create(access, **data)
        return _accepted(cluster, operation)


class EstimateView(APIView):
    """The price of a cluster before it is created."""

    @extend_schema(request=inputs.EstimateInput, responses=OBJECT)
    def post(self, request: Request, slug: str) -> Response:
        """Answer price and fault budget."""
        require(request, "clusters:read")
        data = _valid(inputs.EstimateInput, request)
        return Response(estimate_json(estimate(data["plan"], data["nodes"])))


class ClusterView(APIView):
    """One cluster."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Describe it."""
        require(request, "clusters:read")
        return Response(shapes.cluster_json(cluster_get(cluster_id)))

    @extend_schema(request=inputs.ClusterPatch, responses=OBJECT)
    def patch(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Rename it."""
        access = require(request, "clusters:write")
        cluster = cluster_get(cluster_id)
        services.cluster_rename(access, cluster, **_valid(inputs.ClusterPatch, request))
        return Response(shapes.cluster_json(cluster_get(cluster_id)))

    @extend_schema(request=inputs.DeleteInput, responses={202: OBJECT})
    def delete(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Move it to the recycle bin, or delete for good what is there."""
        access = require(request, "clusters:delete")
        cluster = cluster_get(cluster_id)
        require_recent(request, action="cluster.delete")
        data = _valid(inputs.DeleteInput, request)
        found, operation = services.cluster_delete(
            access, cluster, confirm=data["confirm"], now_for_good=data["permanent"]
        )
        return _accepted(found, operation)


class ClusterEstimateView(APIView):
    """The price of another size of a cluster."""

    @extend_schema(request=inputs.ResizeEstimateInput, responses=OBJECT)
    def post(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Answer price and fault budget, and how they differ from the present ones."""
        require(request, "clusters:read")
        cluster = cluster_get(cluster_id)
        data = _valid(inputs.ResizeEstimateInput, request)
        plan, nodes = data.get("plan", cluster.plan), data.get("nodes", cluster.size)
        return Response(resize_json(estimate(cluster.plan, cluster.size), estimate(plan, nodes)))


class RestoreView(APIView):
    """Out of the recycle bin."""

    @extend_schema(request=None, responses={202: OBJECT})
    def post(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Bring it back with its data and addresses."""
        access = require(request, "clusters:delete")
        return _accepted(*services.cluster_restore(access, cluster_get(cluster_id)))


class RestartView(APIView):
    """Restarting a node."""

    @extend_schema(request=inputs.RestartInput, responses={202: OBJECT})
    def post(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Restart one node."""
        access = require(request, "clusters:write")
        cluster = cluster_get(cluster_id)
        data = _valid(inputs.RestartInput, request)
        return _accepted(*services.cluster_restart_node(access, cluster, **data))


class ScaleView(APIView):
    """Another size."""

    @extend_schema(request=inputs.ScaleInput, responses={202: OBJECT})
    def post(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Add or remove nodes while the cluster serves."""
        access = require(request, "clusters:write")
        cluster = cluster_get(cluster_id)
        data = _valid(inputs.ScaleInput, request)
        return _accepted(*services.cluster_scale(access, cluster, **data))


class RotateView(APIView):
    """Changing the encryption keys."""

    @extend_schema(request=inputs.RotateInput, responses={202: OBJECT})
    def post(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Change the data key of every node; a plain cluster turns encrypted."""
        access = require(request, "clusters:write")
        cluster = cluster_get(cluster_id)
        require_recent(request, action="cluster.encryption")
        data = _valid(inputs.RotateInput, request)
        return _accepted(*services.cluster_rotate_keys(access, cluster, **data))


class ReplaceView(APIView):
    """Replacing a node."""

    @extend_schema(request=None, responses={202: OBJECT})
    def post(self, request: Request, slug: str, cluster_id: UUID, index: int) -> Response:
        """Have a new node take the place of one, which may be dead."""
        access = require(request, "clusters:write")
        cluster = cluster_get(cluster_id)
        return _accepted(*services.cluster_replace_node(access, cluster, node=index))


class NodesView(APIView):
    """The nodes of a cluster."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """List them as they were last seen."""
        require(request, "clusters:read")
        cluster = cluster_get(cluster_id)
        found = [shapes.node_json(node) for node in cluster.present_nodes]
        return Response({"results": found, "next": None})


class NodeLogView(APIView):
    """What a node logged."""

    @extend_schema(parameters=[LINES], responses=OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID, index: int) -> Response:
        """Answer the last lines."""
        require(request, "clusters:write")
        cluster = cluster_get(cluster_id)
        node_get(cluster, index)
        text = request.query_params.get("lines", str(LINES_DEFAULT))
        if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:6]) <= LOG_LINES_MAX:
            detail = f"lines is a number from 1 to {LOG_LINES_MAX}"
            raise Invalid(errors=[{"pointer": "/lines", "detail": detail}])
        try:
            lines = driver().logs(str(cluster.pk), index, lines=int(text))
        except (DriverError, OSError) as error:
            raise UnableToChangeCluster("The log cannot be read at the moment.") from error
        return Response({"node": index, "lines": lines})


class ConnectionView(APIView):
    """How to reach a cluster."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Answer addresses and working snippets."""
        require(request, "clusters:read")
        return Response(shapes.connection_json(cluster_get(cluster_id)))


class AnchorView(APIView):
    """Whose signatures prove what a cluster holds."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Answer the trust anchor, as a file for `aerolith verify`."""
        require(request, "clusters:read")
        anchor = anchor_get(cluster_get(cluster_id))
        return Response(
            msgspec.to_builtins(anchor),
            headers={"Content-Disposition": 'attachment; filename="anchor.json"'},
        )


class KeysView(APIView):
    """The API keys of a cluster."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """List them; secrets are not stored."""
        require(request, "clusters:read")
        return _page(self, key_list(cluster_get(cluster_id)), shapes.key_json)

    @extend_schema(request=inputs.KeyInput, responses={201: OBJECT})
    def post(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Create one on every node; its secret is answered this once."""
        access = require(request, "keys:write")
        cluster = cluster_get(cluster_id)
        require_recent(request, action="cluster.key")
        data = _valid(inputs.KeyInput, request)
        expires = data.pop("expires")
        key, secret = services.key_create(access, cluster, **data, expires_at=expires)
        response = Response({**shapes.key_json(key), "secret": secret}, status=CREATED)
        response["Cache-Control"] = "no-store"
        return response


class KeyView(APIView):
    """One API key."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID, key_id: str) -> Response:
        """Describe it."""
        require(request, "clusters:read")
        return Response(shapes.key_json(key_get(cluster_get(cluster_id), key_id)))

    @extend_schema(responses=OBJECT)
    def delete(self, request: Request, slug: str, cluster_id: UUID, key_id: str) -> Response:
        """Revoke it on every node."""
        access = require(request, "keys:write")
        cluster = cluster_get(cluster_id)
        key = services.key_revoke(access, cluster, key_get(cluster, key_id))
        return Response(shapes.key_json(key))


class OperationsView(APIView):
    """Long work of an organization."""

    @extend_schema(parameters=[OF_CLUSTER], responses=OBJECT)
    def get(self, request: Request, slug: str) -> Response:
        """List it, newest first."""
        access = require_somewhere(request, "operations:read")
        found = operation_list(visible=access.clusters_visible("cluster_id", "operations:read"))
        asked = request.query_params.get("cluster")
        if asked is not None:
            try:
                found = found.filter(cluster_id=UUID(asked))
            except ValueError as error:
                detail = "cluster is the id of a cluster"
                raise Invalid(errors=[{"pointer": "/cluster", "detail": detail}]) from error
        return _page(self, found, shapes.operation_json)


class OperationView(APIView):
    """One piece of long work."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str, operation_id: UUID) -> Response:
        """Describe it with its steps."""
        operation = operation_get(operation_id)
        require_at(request, "operations:read", operation.cluster_id)
        return Response(shapes.operation_json(operation))


class OperationCancelView(APIView):
    """Cancelling."""

    @extend_schema(request=None, responses={202: OBJECT})
    def post(self, request: Request, slug: str, operation_id: UUID) -> Response:
        """Ask it to stop and clean up."""
        operation = operation_get(operation_id)
        access = require_at(request, "operations:cancel", operation.cluster_id)
        operation = services.operation_cancel(access, operation)
        return _accepted(operation.cluster, operation)


class OperationRetryView(APIView):
    """Trying again."""

    @extend_schema(request=None, responses={202: OBJECT})
    def post(self, request: Request, slug: str, operation_id: UUID) -> Response:
        """Go on from the step at which it stopped."""
        operation = operation_get(operation_id)
        access = require_at(request, "clusters:write", operation.cluster_id)
        operation = services.operation_retry(access, operation)
        return _accepted(operation.cluster, operation)
