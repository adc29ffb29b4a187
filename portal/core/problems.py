"""The one place where API errors become problem+json."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from rest_framework import exceptions
from rest_framework.views import set_rollback

from portal.core.errors import (
    FieldError,
    Forbidden,
    Invalid,
    NotFound,
    PortalError,
    RateLimited,
    Unauthenticated,
)
from portal.core.http import problem_response

DEFAULT_RETRY_S = 60


def field_errors(detail: object, pointer: str = "") -> list[FieldError]:
    """Flatten the serializers' nested errors to pointers and sentences."""
    match detail:
        case Mapping():
            found: list[FieldError] = []
            for name, value in detail.items():
                part = "" if name == "non_field_errors" else f"/{name}"
                found += field_errors(value, pointer + part)
            return found
        case str():
            return [{"pointer": pointer, "detail": str(detail)}]
        case Sequence():
            found = []
            for index, value in enumerate(detail):
                is_nested = isinstance(value, Mapping)
                found += field_errors(value, f"{pointer}/{index}" if is_nested else pointer)
            return found
        case _:
            return [{"pointer": pointer, "detail": str(detail)}]


def translate(error: Exception) -> PortalError | None:  # noqa: PLR0911 - a table
    """Return our error for one of Django's or the framework's."""
    match error:
        case PortalError():
            return error
        case Http404():
            return NotFound()
        case PermissionDenied():
            return Forbidden("You may not do this.")
        case exceptions.ValidationError():
            return Invalid(errors=field_errors(error.detail))
        case exceptions.NotAuthenticated() | exceptions.AuthenticationFailed():
            return Unauthenticated("Send a token in the Authorization header, or sign in.")
        case exceptions.Throttled():
            wait: float | None = getattr(error, "wait", None)
            seconds = int(wait or DEFAULT_RETRY_S) + 1
            return RateLimited(f"Try again in {seconds} s.", retry_after=seconds)
        case exceptions.APIException():
            code = error.get_codes()
            return PortalError(
                str(error.detail),
                code=code if isinstance(code, str) else "refused",
                status=error.status_code,
                title=str(error.default_detail),
            )
        case _:
            return None


def exception_handler(error: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """Answer a known error; unknown ones become a logged 500."""
    del context
    known = translate(error)
    if known is None:
        return None
    set_rollback()
    return problem_response(known)
