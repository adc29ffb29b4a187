"""Backups over the API."""

from typing import Any
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from portal.access.guards import require
from portal.backups import serializers as inputs
from portal.backups import services
from portal.backups.archiving import moment_find
from portal.backups.models import BackupPolicy
from portal.backups.presentation import backup_json, policy_json, restore_json
from portal.backups.selectors import (
    backup_get,
    backup_list,
    drill_newest,
    next_due,
    policy_get,
    restore_get,
    restore_list,
    window_of,
)
from portal.clusters import presentation as shapes
from portal.clusters.models import Cluster
from portal.clusters.selectors import cluster_get, operation_get
from portal.core.pagination import NewestFirst
from portal.core.serializers import StrictSerializer

OBJECT = OpenApiTypes.OBJECT
ACCEPTED = 202


class BackupsView(APIView):
    """The backups of a cluster."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """List them, newest first."""
        require(request, "clusters:read")
        pages = NewestFirst()
        found = backup_list(cluster_get(cluster_id))
        rows = pages.paginate_queryset(found, request, view=self) or []
        return pages.get_paginated_response([backup_json(row) for row in rows])

    @extend_schema(request=inputs.BackupInput, responses={202: OBJECT})
    def post(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Take one now."""
        access = require(request, "clusters:write")
        cluster = cluster_get(cluster_id)
        data = _valid(inputs.BackupInput(data=request.data))
        backup = services.backup_request(access, cluster, **data)
        return Response(backup_json(backup), status=ACCEPTED)


class BackupView(APIView):
    """One backup."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID, backup_id: UUID) -> Response:
        """Describe it."""
        require(request, "clusters:read")
        return Response(backup_json(backup_get(cluster_get(cluster_id), backup_id)))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, slug: str, cluster_id: UUID, backup_id: UUID) -> Response:
        """Delete it; what is stored goes when nothing builds on it any more."""
        access = require(request, "clusters:delete")
        services.backup_delete(access, backup_get(cluster_get(cluster_id), backup_id))
        return Response(status=204)


class BackupPolicyView(APIView):
    """How a cluster is backed up."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Describe it, and say when the next backup is due."""
        require(request, "clusters:read")
        cluster = cluster_get(cluster_id)
        policy = policy_get(cluster)
        return Response(_policy(cluster, policy))

    @extend_schema(request=inputs.PolicyInput, responses=OBJECT)
    def put(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Change it."""
        access = require(request, "clusters:write")
        cluster = cluster_get(cluster_id)
        data = _valid(inputs.PolicyInput(data=request.data))
        policy = services.policy_set(access, cluster, **data)
        return Response(_policy(cluster, policy))


class RestoresView(APIView):
    """What was restored into a cluster, and restoring its backups."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """List what was restored into it, newest first."""
        require(request, "clusters:read")
        pages = NewestFirst()
        found = restore_list(cluster_get(cluster_id))
        rows = pages.paginate_queryset(found, request, view=self) or []
        return pages.get_paginated_response([restore_json(row) for row in rows])

    @extend_schema(request=inputs.RestoreInput, responses={202: OBJECT})
    def post(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Restore one of its backups, in place or into a new cluster."""
        access = require(request, "clusters:write")
        cluster = cluster_get(cluster_id)
        data = _valid(inputs.RestoreInput(data=request.data))
        is_new = data["where"] == "new"
        if not is_new:
            require(request, "clusters:delete")
        sequence: int | None = None
        if data["backup"] is not None:
            backup = backup_get(cluster, data["backup"])
        else:
            backup, sequence = moment_find(
                cluster, sequence=data["to_sequence"], time=data["to_time"]
            )
        if is_new:
            nodes = data["nodes"] or cluster.desired_nodes
            made, operation = services.restore_new(
                access, backup, name=data["name"], nodes=nodes, to_sequence=sequence
            )
        else:
            made, operation = services.restore_in_place(
                access, cluster, backup, confirm=data["confirm"], to_sequence=sequence
            )
        body = {
            "operation": shapes.operation_json(operation_get(operation.pk)),
            "cluster": shapes.cluster_json(cluster_get(made.pk)),
        }
        return Response(body, status=ACCEPTED)


class RestoreCertificateView(APIView):
    """What the nodes signed of a restore."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID, operation_id: UUID) -> Response:
        """Answer the certificate, and the trust anchors of both clusters."""
        require(request, "clusters:read")
        return Response(restore_get(cluster_get(cluster_id), operation_id).certificate)


def _policy(cluster: Cluster, policy: BackupPolicy) -> dict[str, Any]:
    due, window = next_due(cluster, policy), window_of(cluster)
    return policy_json(policy, due, window, drill_newest(cluster))


def _valid(serializer: StrictSerializer) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    found: dict[str, Any] = serializer.validated_data
    return found
