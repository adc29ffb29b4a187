"""Request ids, health answers, and errors as pages, as messages on them or as problem+json."""

import ipaddress
import logging
import re
import sys
from collections.abc import Callable

from django.conf import settings
from django.contrib import messages
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.db.utils import Error as DatabaseError
from django.db.utils import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.deprecation import MiddlewareMixin
from redis.exceptions import ConnectionError as ValkeyConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as ValkeyTimeoutError

from portal.core import logs
from portal.core.errors import Forbidden, NotFound, PortalError, Unavailable
from portal.core.ids import uuid7

logger = logging.getLogger(__name__)

type GetResponse = Callable[[HttpRequest], HttpResponse]

_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{8,64}$")
_PAGES = {400, 403, 404, 500}
_PROXY_HEADERS = frozenset({"Forwarded", "Via", "X-Forwarded-For", "X-Real-Ip"})
UNAVAILABLE = 503
RETRY_S = 5
# Connection failures, shutdown and recovery, too many connections.
_CONNECTION_STATES = ("08", "57P", "53300")


def is_api(request: HttpRequest) -> bool:
    """Tell whether the caller expects JSON."""
    return request.path.startswith(("/api/", "/internal/", "/webhooks/"))


def client_ip(request: HttpRequest) -> str:
    """Return the caller's address, believing only the proxies that are ours."""
    address = str(request.META.get("REMOTE_ADDR") or "")
    count: int = settings.TRUSTED_PROXY_COUNT
    if count:
        forwarded = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",")]
        if len(forwarded) >= count:
            address = forwarded[-count]
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return "0.0.0.0"  # noqa: S104 - not a bind: the address of a caller without one.


def is_local(request: HttpRequest) -> bool:
    """Tell whether the caller is on this machine and came through no proxy."""
    if settings.TRUSTED_PROXY_COUNT or not _PROXY_HEADERS.isdisjoint(request.headers):
        return False
    try:
        return ipaddress.ip_address(str(request.META.get("REMOTE_ADDR") or "")).is_loopback
    except ValueError:
        return False


def problem_response(error: PortalError) -> JsonResponse:
    """Answer an error as problem+json."""
    response = JsonResponse(
        {**error.problem(), "request_id": logs.request_id.get()},
        status=error.status,
        content_type="application/problem+json",
    )
    if error.status == 401:
        response["WWW-Authenticate"] = 'Bearer realm="aerolith"'
    if isinstance(seconds := error.fields.get("retry_after"), int):
        response["Retry-After"] = str(seconds)
    return response


def error_response(request: HttpRequest, error: PortalError) -> HttpResponse:
    """Answer an error in the form that the caller reads."""
    if is_api(request) or "application/json" in request.headers.get("Accept", ""):
        return problem_response(error)
    name = error.status if error.status in _PAGES else "error"
    context = {"error": error, "request_id": logs.request_id.get()}
    return render(request, f"errors/{name}.html", context, status=error.status)


def attempt(request: HttpRequest, work: Callable[[], object], words: str) -> None:
    """Do what a button asks for; the next page says that it is done, or why it was refused.

    Raises:
        NotFound: it was asked for something that there is not.
    """
    try:
        work()
    except NotFound:
        raise
    except PortalError as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, words)


class RequestIdMiddleware:
    """Gives each request an id, which the answer, the logs and error pages carry."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Take the proxy's id if it is well-formed, else make one."""
        offered = request.headers.get("X-Request-ID", "")
        name = offered if _REQUEST_ID.match(offered) else uuid7().hex
        tokens = (
            logs.request_id.set(name),
            logs.organization.set(""),
            logs.user.set(""),
            logs.address.set(client_ip(request)),
        )
        try:
            response = self.get_response(request)
        finally:
            logs.request_id.reset(tokens[0])
            logs.organization.reset(tokens[1])
            logs.user.reset(tokens[2])
            logs.address.reset(tokens[3])
        response["X-Request-ID"] = name
        response.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
        return response


class HealthMiddleware:
    """Answers health questions before sessions and hosts are looked at."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer /healthz (the process lives) and /readyz (its services answer)."""
        match request.path:
            case "/healthz":
                return JsonResponse({"status": "ok"})
            case "/readyz":
                checks = {"database": _database_answers(), "cache": _cache_answers()}
                is_ready = all(checks.values())
                return JsonResponse(
                    {"status": "ok" if is_ready else "unavailable", "checks": checks},
                    status=200 if is_ready else 503,
                )
            case _:
                return self.get_response(request)


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        logger.warning("ready.database_unavailable", exc_info=True)
        return False
    return True


def _cache_answers() -> bool:
    try:
        cache.get("ready")
    except (RedisError, OSError):
        logger.warning("ready.cache_unavailable", exc_info=True)
        return False
    return True


class ErrorMiddleware(MiddlewareMixin):
    """Turns errors that views raise into answers; everything unforeseen is a 500 with an id."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer what we know; leave the rest to Django, which logs it."""
        match error:
            case PortalError():
                return error_response(request, error)
            case Http404():
                return error_response(request, NotFound())
            case PermissionDenied():
                return error_response(request, Forbidden("You may not do this."))
            case _:
                return None


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer a malformed request."""
    del exception  # Its text may repeat what the attacker sent.
    error = PortalError("The request is malformed.", code="bad_request", title="Bad request")
    return error_response(request, error)


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer a refused request."""
    del exception
    return error_response(request, Forbidden("You may not do this."))


def page_not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer an unknown address."""
    del exception
    return error_response(request, NotFound())


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer a failure of ours, without touching what may be broken."""
    if is_outage(sys.exc_info()[1]):
        error: PortalError = Unavailable(
            "The portal's own database or cache does not answer. Your clusters go on serving "
            "their clients.",
            retry_after=RETRY_S,
        )
    else:
        error = PortalError(
            "Something failed on our side. The request id helps to find it.",
            code="internal",
            status=500,
            title="Something went wrong",
        )
    if is_api(request) or "application/json" in request.headers.get("Accept", ""):
        return problem_response(error)
    context = {
        "error": error,
        "request_id": logs.request_id.get(),
        "retry_s": RETRY_S,
        "is_write": request.method == "POST",
    }
    # No request: context processors would query the database that may be down.
    response = render(None, f"errors/{error.status}.html", context, status=error.status)
    if error.status == UNAVAILABLE:
        response["Retry-After"] = str(RETRY_S)
    return response


def is_outage(error: BaseException | None) -> bool:
    """Tell whether a service that the portal stands on was out of reach."""
    if isinstance(error, (ValkeyConnectionError, ValkeyTimeoutError)):
        return True
    if not isinstance(error, (OperationalError, InterfaceError)):
        return False
    state = getattr(error.__cause__, "sqlstate", None)
    return state is None or state.startswith(_CONNECTION_STATES)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form whose token does not match."""
    logger.info("csrf.refused", extra={"reason": reason, "path": request.path})
    error = Forbidden(
        "The form is out of date, or cookies are switched off. Reload the page and try again.",
    )
    error.code = "csrf_failed"
    return error_response(request, error)
