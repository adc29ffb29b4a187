"""POST /internal/usage: CloudEvents from nodes, one or a batch, under the cluster's own token."""

from collections.abc import Sequence
from http import HTTPStatus

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from portal.core import clock
from portal.metering.constants import BODY_BYTES_MAX
from portal.metering.errors import MalformedBody
from portal.metering.parsing import decode_body
from portal.metering.selectors import source_by_token
from portal.metering.services import usage_ingest
from portal.metering.types import Outcome

MEDIA_TYPES = frozenset(
    {"application/json", "application/cloudevents+json", "application/cloudevents-batch+json"}
)


@csrf_exempt
@require_POST
def usage_view(request: HttpRequest) -> JsonResponse:
    """Take usage in; nodes hold no session, so there is nothing for a forged request to ride on."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    sender = source_by_token(token.strip()) if kind.lower() == "bearer" else None
    if sender is None:
        response = _problem(HTTPStatus.UNAUTHORIZED, "unauthenticated", "no such usage token")
        response["WWW-Authenticate"] = "Bearer"
        return response
    if request.content_type not in MEDIA_TYPES:
        return _problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "send CloudEvents as JSON"
        )
    try:
        body = _read(request)
        events, is_batch = decode_body(body)
    except RequestDataTooBig:
        return _problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", f"at most {BODY_BYTES_MAX} bytes"
        )
    except MalformedBody as error:
        return _problem(HTTPStatus.BAD_REQUEST, "malformed", str(error))
    outcomes = usage_ingest(sender, events, now=clock.now())
    return _batch_answer(outcomes) if is_batch else _single_answer(outcomes[0])


def _read(request: HttpRequest) -> bytes:
    """Read the body within its limit."""
    length = request.headers.get("Content-Length", "")
    if length.isdigit() and int(length) > BODY_BYTES_MAX:
        raise RequestDataTooBig
    body = request.body
    if len(body) > BODY_BYTES_MAX:
        raise RequestDataTooBig
    return body


def _batch_answer(outcomes: Sequence[Outcome]) -> JsonResponse:
    """Answer per event: 200 when all are in, 207 when some are not."""
    is_clean = all(outcome.status in {"accepted", "duplicate"} for outcome in outcomes)
    status = HTTPStatus.OK if is_clean else HTTPStatus.MULTI_STATUS
    counts: dict[str, int] = {}
    for outcome in outcomes:
        counts[outcome.status] = counts.get(outcome.status, 0) + 1
    results = [outcome.as_json() for outcome in outcomes]
    return JsonResponse({"results": results, "counts": counts}, status=status)


def _single_answer(outcome: Outcome) -> JsonResponse:
    """Answer about one event with the status of the whole response."""
    if outcome.status in {"accepted", "duplicate"}:
        return JsonResponse(outcome.as_json())
    status = (
        HTTPStatus.CONFLICT if outcome.status == "conflict" else HTTPStatus.UNPROCESSABLE_ENTITY
    )
    detail = outcome.detail or ""
    named = {"id": outcome.id, "source": outcome.source}
    return _problem(status, outcome.code or "invalid", detail, **named)


def _problem(status: HTTPStatus, code: str, detail: str, **fields: str) -> JsonResponse:
    """Answer an error in the shape that all of the portal's errors have."""
    return JsonResponse(
        {
            **fields,
            "type": "about:blank",
            "title": status.phrase,
            "status": int(status),
            "detail": detail,
            "code": code,
        },
        status=int(status),
        content_type="application/problem+json",
    )
