"""Idempotency-Key: a write that is repeated under the same key is done once.

The middleware runs in the public schema, around the one that enters the organization. Answers
may hold a secret that is shown once, so they are stored sealed.
"""

import hashlib
from collections.abc import Callable
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse

from portal.api.models import IdempotencyRecord
from portal.core import clock
from portal.core.crypto import seal, unseal
from portal.core.errors import Conflict, Invalid, PortalError
from portal.core.http import problem_response
from portal.core.tenancy import public_context

type GetResponse = Callable[[HttpRequest], HttpResponse]

KEPT = timedelta(hours=24)
# A process that died while answering must not block the key for a day.
ABANDONED = timedelta(seconds=60)
KEY_LENGTH_MAX = 200
BODY_SIZE_MAX = 256 * 1024
_METHODS = {"POST", "PUT", "PATCH", "DELETE"}
_SERVER_ERROR = 500
_TOO_MANY = 429


class IdempotencyMiddleware:
    """Stores the first answer to a named write and repeats it."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass on, or answer what was answered before."""
        key = request.headers.get("Idempotency-Key")
        is_write = request.method in _METHODS and request.path.startswith("/api/v1/")
        if key is None or not is_write or not request.user.is_authenticated:
            return self.get_response(request)
        try:
            record = _claim(request, key)
        except PortalError as error:
            return problem_response(error)
        if record.status is not None:
            return _repeat(record)
        try:
            response = self.get_response(request)
        except BaseException:
            _forget(record)
            raise
        _keep(record, response)
        return response


def _claim(request: HttpRequest, key: str) -> IdempotencyRecord:
    """Return a new record, or the finished one of the same request."""
    if not 0 < len(key) <= KEY_LENGTH_MAX or not key.isprintable():
        raise Invalid(
            errors=[{"pointer": "", "detail": "Idempotency-Key: 1 to 200 printable characters."}]
        )
    caller, digest, now = str(request.user.pk), _digest(request), clock.now()
    with public_context():
        stale = IdempotencyRecord.objects.filter(caller=caller, key=key)
        stale.filter(created_at__lt=now - KEPT).delete()
        stale.filter(created_at__lt=now - ABANDONED, status=None).delete()
        try:
            with transaction.atomic():
                return IdempotencyRecord.objects.create(
                    caller=caller, key=key, digest=digest, created_at=now
                )
        except IntegrityError:
            record = IdempotencyRecord.objects.filter(caller=caller, key=key).first()
    if record is None or (record.status is None and record.digest == digest):
        raise Conflict(
            "The first request with this key is still being answered.",
            code="idempotency_in_progress",
        )
    if record.digest != digest:
        raise Invalid(
            "This key was used for another request.", code="idempotency_key_reused", errors=[]
        )
    return record


def _digest(request: HttpRequest) -> str:
    head = f"{request.method} {request.get_full_path()} {request.content_type}\n"
    return hashlib.sha256(head.encode() + request.body).hexdigest()


def _repeat(record: IdempotencyRecord) -> HttpResponse:
    body = unseal(bytes(record.sealed_body)) if record.sealed_body is not None else b""
    response = HttpResponse(body, status=record.status, content_type=record.content_type)
    response["Idempotent-Replayed"] = "true"
    return response


def _keep(record: IdempotencyRecord, response: HttpResponse) -> None:
    """Store the answer; failures of ours and refusals for now may be tried again."""
    passing = response.status_code >= _SERVER_ERROR or response.status_code == _TOO_MANY
    if passing or response.streaming or len(response.content) > BODY_SIZE_MAX:
        _forget(record)
        return
    record.status = response.status_code
    record.content_type = response.headers.get("Content-Type", "")
    record.sealed_body = seal(response.content)
    with public_context():
        record.save(update_fields=["status", "content_type", "sealed_body"])


def _forget(record: IdempotencyRecord) -> None:
    with public_context():
        IdempotencyRecord.objects.filter(pk=record.pk).delete()


def records_expire() -> int:
    """Remove what is older than a day."""
    with public_context():
        count, _ = IdempotencyRecord.objects.filter(created_at__lt=clock.now() - KEPT).delete()
    return count
