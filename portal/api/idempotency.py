"""Idempotency-Key: a write that is repeated under the same key is done once.

The middleware runs within the one that enters the organization, so a stored answer is looked up
only for members. It is repeated to the same user or token alone, and only while they hold every
permission that they held when it was given: it may hold a secret that is shown once. For the same
reason answers are stored sealed.
"""

from collections.abc import Callable
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import Resolver404, resolve
from django.utils.crypto import salted_hmac

from portal.access.types import Access
from portal.accounts.models import AccessToken
from portal.api.models import IdempotencyRecord
from portal.core import clock
from portal.core.crypto import seal, unseal
from portal.core.errors import Conflict, Forbidden, Invalid, PortalError
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
# Refusals of which another try may end otherwise: nothing was done.
_PASSING = frozenset({403, 429})


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
        raise Invalid.at("", "Idempotency-Key: 1 to 200 printable characters.")
    caller, digest, now = _caller(request), _digest(request), clock.now()
    held = _permissions(request)
    with public_context():
        stale = IdempotencyRecord.objects.filter(caller=caller, key=key)
        stale.filter(created_at__lt=now - KEPT).delete()
        stale.filter(created_at__lt=now - ABANDONED, status=None).delete()
        try:
            with transaction.atomic():
                return IdempotencyRecord.objects.create(
                    caller=caller, key=key, digest=digest, created_at=now, permissions=sorted(held)
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
    if lost := set(record.permissions) - held:
        raise Forbidden(
            "The request was answered before; since then your access became less.",
            permission=min(lost).partition(" ")[0],
        )
    return record


def _caller(request: HttpRequest) -> str:
    """Name who calls: two tokens of one user are two callers, that may do different things."""
    token = getattr(request, "access_token", None)
    if isinstance(token, AccessToken):
        return f"token:{token.pk}"
    return f"user:{request.user.pk}"


def _permissions(request: HttpRequest) -> set[str]:
    access = getattr(request, "access", None)
    if not isinstance(access, Access):
        return set()
    try:
        cluster_id = resolve(request.path_info).kwargs.get("cluster_id")
    except Resolver404:
        cluster_id = None
    if cluster_id is not None:
        return set(access.permissions_at(cluster_id))
    # The path may reach a cluster that it does not name, as an operation's does.
    places = {key for held in access.held for key in held.cluster_ids or ()}
    there = {f"{code} {key.hex}" for key in places for code in access.permissions_at(key)}
    return there | access.everywhere


def _digest(request: HttpRequest) -> str:
    head = f"{request.method} {request.get_full_path()} {request.content_type}\n"
    # Keyed: a body may hold a password, which a plain hash of the rest would let anyone guess.
    mac = salted_hmac("idempotency", head.encode() + request.body, algorithm="sha256")
    return str(mac.hexdigest())


def _repeat(record: IdempotencyRecord) -> HttpResponse:
    body = unseal(bytes(record.sealed_body)) if record.sealed_body is not None else b""
    response = HttpResponse(body, status=record.status, content_type=record.content_type)
    response["Idempotent-Replayed"] = "true"
    return response


def _keep(record: IdempotencyRecord, response: HttpResponse) -> None:
    """Store the answer; failures of ours and refusals for now may be tried again."""
    passing = response.status_code >= _SERVER_ERROR or response.status_code in _PASSING
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
