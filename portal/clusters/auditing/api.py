"""A cluster's audit log, its compliance modes, and the rights of persons, over the API."""

from typing import Any, Final, cast
from uuid import UUID

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from dataplane.client.errors import ProofError
from portal.access.guards import require
from portal.clusters.auditing import presentation as shapes
from portal.clusters.auditing import serializers as inputs
from portal.clusters.auditing import services, subjects
from portal.clusters.auditing.downloads import LINES_TYPE, lines_download
from portal.clusters.selectors import cluster_get
from portal.core.errors import Invalid
from portal.core.serializers import StrictSerializer
from portal.identity.stepup import require_recent

OBJECT: Final = OpenApiTypes.OBJECT
LINES: Final = {(200, LINES_TYPE): OpenApiTypes.STR}
ACCEPTED: Final = 202
LIMIT_MAX: Final = 200
LIMIT_DIGITS_MAX: Final = 6
TEXT_LENGTH_MAX: Final = 200
FILTERS: Final = [
    OpenApiParameter("action", str, description="An action, or its first part: `key`."),
    OpenApiParameter("actor", str, description="The id of an API key."),
    OpenApiParameter("collection", str, description="A collection."),
    OpenApiParameter("since", OpenApiTypes.DATETIME, description="Not before this moment."),
    OpenApiParameter("until", OpenApiTypes.DATETIME, description="Before this moment."),
    OpenApiParameter("from", int, description="From this sequence on."),
    OpenApiParameter("to", int, description="Up to this sequence."),
]
PAGING: Final = [
    OpenApiParameter("limit", int, description=f"1 to {LIMIT_MAX} records."),
    OpenApiParameter("after", str, description="Where the page before ended."),
]
_NAMES: Final = {"from": "from_"}


class ClusterAuditView(APIView):
    """The audit log that a cluster keeps itself."""

    @extend_schema(parameters=[*FILTERS, *PAGING], responses=OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """List records, newest first; a page with few of them and a `next` is not the end."""
        require(request, "audit:read")
        asked = request.query_params
        filters = {
            _NAMES.get(item.name, item.name): asked.get(item.name, "")[:TEXT_LENGTH_MAX]
            for item in FILTERS
        }
        sheet = services.log_page(
            cluster_get(cluster_id),
            filters,
            asked.get("after", "")[:TEXT_LENGTH_MAX],
            limit=_limit(asked.get("limit", str(services.PAGE_SIZE))),
        )
        following = sheet.next_after
        if following is not None:
            following = replace_query_param(request.build_absolute_uri(), "after", following)
        return Response(
            {
                "results": sheet.records,
                "next": following,
                "log": shapes.settings_json(sheet.chain),
            }
        )


class ClusterAuditFileView(APIView):
    """The whole log."""

    @extend_schema(responses=LINES)
    def get(self, request: Request, slug: str, cluster_id: UUID) -> StreamingHttpResponse:
        """Stream every record as a line of JSON, and last the proof, for `verify-audit`."""
        require(request, "audit:read")
        cluster = cluster_get(cluster_id)
        return lines_download(services.log_lines(cluster), f"{cluster.slug}-audit.ndjson")


class ClusterAuditCheckView(APIView):
    """Checking the log."""

    @extend_schema(request=None, responses=OBJECT)
    def post(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Check the newest 20,000 records against the keys that the portal gave the nodes."""
        require(request, "audit:read")
        try:
            proven = services.log_check(cluster_get(cluster_id))
        except ProofError as fault:
            return Response(shapes.fault_json(fault))
        return Response(shapes.proven_json(proven))


class ClusterAuditSettingsView(APIView):
    """What is recorded."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Describe it."""
        require(request, "audit:read")
        return Response(shapes.settings_json(services.log_chain(cluster_get(cluster_id))))

    @extend_schema(request=inputs.AuditSettingsInput, responses=OBJECT)
    def put(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Change it; itself recorded."""
        access = require(request, "organization:write")
        cluster = cluster_get(cluster_id)
        require_recent(request, action="cluster.compliance")
        data = _valid(inputs.AuditSettingsInput(data=request.data))
        services.log_settings(access, cluster, level=data["level"], days=data["retention_days"])
        return Response(shapes.settings_json(services.log_chain(cluster)))


class ComplianceView(APIView):
    """The compliance modes of a cluster."""

    @extend_schema(responses=OBJECT)
    def get(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Describe them: which are on, and what each enforces."""
        require(request, "audit:read")
        return Response(shapes.modes_json(services.modes_get(cluster_get(cluster_id))))

    @extend_schema(request=inputs.ComplianceInput, responses=OBJECT)
    def put(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Set which are on, or with `dry_run` say what that would change."""
        access = require(request, "organization:write")
        cluster = cluster_get(cluster_id)
        data = _valid(inputs.ComplianceInput(data=request.data))
        modes = sorted(set(data["modes"]))
        if data["dry_run"]:
            found = services.modes_preview(cluster, modes)
            return Response(shapes.preview_json(modes, found))
        require_recent(request, action="cluster.compliance")
        services.modes_set(access, cluster, modes=modes, confirm=data["confirm"])
        return Response(shapes.modes_json(services.modes_get(cluster)))


class SubjectExportView(APIView):
    """What is stored of a person."""

    @extend_schema(request=inputs.SubjectInput, responses=LINES)
    def post(self, request: Request, slug: str, cluster_id: UUID) -> StreamingHttpResponse:
        """Stream it, a line of JSON for each document."""
        access = require(request, "organization:write")
        cluster = cluster_get(cluster_id)
        data = _valid(inputs.SubjectInput(data=request.data))
        found = subjects.subject_lines(access, cluster, data["subject"])
        return lines_download(found, f"{cluster.slug}-subject.ndjson")


class SubjectErasureView(APIView):
    """Erasing a person."""

    @extend_schema(request=inputs.ErasureInput, responses={200: OBJECT, 202: OBJECT})
    def post(self, request: Request, slug: str, cluster_id: UUID) -> Response:
        """Erase, and answer the receipt; 202 is not over: ask again with its `erasure`."""
        access = require(request, "organization:write")
        cluster = cluster_get(cluster_id)
        require_recent(request, action="subject.erase")
        data = _valid(inputs.ErasureInput(data=request.data))
        done = subjects.subject_erase(access, cluster, **data)
        status = 200 if done["is_over"] else ACCEPTED
        return Response(done, status=status, headers={"Cache-Control": "no-store"})


def _limit(text: str) -> int:
    is_number = text.isascii() and text.isdigit() and len(text) <= LIMIT_DIGITS_MAX
    if not is_number or not 1 <= int(text) <= LIMIT_MAX:
        detail = f"limit is a number from 1 to {LIMIT_MAX}"
        raise Invalid(errors=[{"pointer": "/limit", "detail": detail}])
    return int(text)


def _valid(serializer: StrictSerializer) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    return cast("dict[str, Any]", serializer.validated_data)
