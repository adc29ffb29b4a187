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
from portal.backups.branching import branch_expire_set, restore_begin
from portal.backups.models import BackupPolicy
from portal.backups.moments import Point, point_find
from portal.backups.presentation import (
    backup_json,
    branch_json,
    policy_json,
    preview_json,
    restore_json,
    storage_json,
)
from portal.backups.previewing import preview_request
from portal.backups.pricing import storage_estimate
from portal.backups.retention import Grid
from portal.backups.selectors import (
    backup_get,
    backup_list,
    branch_list,
    branch_of,
    drill_newest,
    next_due,
    policy_get,
    preview_get,
    restore_get,
    restore_list,
    window_of,
)
from portal.clusters import presentation as shapes
from portal.clusters.models import Cluster
from portal.clusters.selectors import cluster_get, operation_get
from portal.core import clock
from portal.core.errors import NotFound
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


class PolicyPreviewView(APIView):
    """What another schedule would take up."""

    @extend_schema(request=inputs.PolicyInput, responses=OBJECT)
    def post(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Say it, from the sizes of past backups; nothing is changed."""
        require(request, "clusters:read")
        cluster = cluster_get(cluster_id)
        data = _valid(inputs.PolicyInput(data=request.data))
        days = data["window_days"]
        storage = storage_estimate(
            cluster,
            every_hours=data["every_hours"],
            grid=Grid(**data["keep"]),
            window_days=policy_get(cluster).window_days if days is None else days,
            now=clock.now(),
        )
        return Response(storage_json(storage))


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
        """Restore one of its states, in place, into a new cluster, or into a branch."""
        access = require(request, "clusters:write")
        cluster = cluster_get(cluster_id)
        data = _valid(inputs.RestoreInput(data=request.data))
        if data["where"] == "in_place":
            require(request, "clusters:delete")
        made, operation = restore_begin(
            access,
            _point(request, cluster, data),
            where=data["where"],
            name=data["name"],
            nodes=data["nodes"] or cluster.desired_nodes,
            confirm=data["confirm"],
            expires_at=data["expires"],
        )
        body = {
            "operation": shapes.operation_json(operation_get(operation.pk)),
            "cluster": shapes.cluster_json(cluster_get(made.pk)),
        }
        return Response(body, status=ACCEPTED)


class PreviewsView(APIView):
    """What a restore would change."""

    @extend_schema(request=inputs.PointInput, responses={202: OBJECT})
    def post(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Have one of its states compared with that of now, document by document."""
        access = require(request, "clusters:write")
        cluster = cluster_get(cluster_id)
        data = _valid(inputs.PointInput(data=request.data))
        preview = preview_request(access, _point(request, cluster, data))
        return Response(preview_json(preview), status=ACCEPTED)


class PreviewView(APIView):
    """One preview of a restore."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID, preview_id: UUID) -> Response:
        """Describe it: of each collection what would be added, changed and removed."""
        require(request, "clusters:write")
        return Response(preview_json(preview_get(cluster_get(cluster_id), preview_id)))


class RestoreCertificateView(APIView):
    """What the nodes signed of a restore."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID, operation_id: UUID) -> Response:
        """Answer the certificate, and the trust anchors of both clusters."""
        require(request, "clusters:read")
        return Response(restore_get(cluster_get(cluster_id), operation_id).certificate)


class BranchesView(APIView):
    """The branches of a cluster."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """List those that are there, newest first."""
        access = require(request, "clusters:read")
        pages = NewestFirst()
        visible = access.clusters_visible("cluster_id")
        found = branch_list(cluster_get(cluster_id), visible=visible)
        rows = pages.paginate_queryset(found, request, view=self) or []
        return pages.get_paginated_response([branch_json(row) for row in rows])


class BranchView(APIView):
    """Where a cluster branched off, and when it ends."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Describe it."""
        require(request, "clusters:read")
        branch = branch_of(cluster_get(cluster_id))
        if branch is None:
            raise NotFound("This cluster is not a branch of another one.")
        return Response(branch_json(branch))

    @extend_schema(request=inputs.BranchPatch, responses=OBJECT)
    def patch(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Say when it ends; null keeps it."""
        access = require(request, "clusters:write")
        cluster = cluster_get(cluster_id)
        data = _valid(inputs.BranchPatch(data=request.data))
        branch_expire_set(access, cluster, expires_at=data["expires"])
        return self.get(request, slug, cluster_id)


def _point(request: Request, cluster: Cluster, data: dict[str, Any]) -> Point:
    """Return the state that is named."""
    if data["before_audit_event"] is not None:
        require(request, "audit:read")
    return point_find(cluster, **{name: data[name] for name in inputs.POINTS})


def _policy(cluster: Cluster, policy: BackupPolicy) -> dict[str, Any]:
    due, window = next_due(cluster, policy), window_of(cluster)
    return policy_json(policy, due, window, drill_newest(cluster))


def _valid(serializer: StrictSerializer) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    found: dict[str, Any] = serializer.validated_data
    return found
