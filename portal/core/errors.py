"""Errors with a stable code that the API and the pages both know how to show."""

from collections.abc import Sequence
from typing import Any, Self, TypedDict


class FieldError(TypedDict):
    """One thing wrong with the input: a JSON pointer to it, and why in words."""

    pointer: str
    detail: str


class PortalError(Exception):
    """Something the caller can be told, in a shape that clients can rely on."""

    code = "error"
    status = 400
    title = "The request was refused"

    def __init__(
        self,
        detail: str = "",
        *,
        code: str | None = None,
        status: int | None = None,
        title: str | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(detail or title or self.title)
        self.code = code or self.code
        self.status = status or self.status
        self.title = title or self.title
        self.detail = detail or self.title
        self.fields = fields

    def problem(self) -> dict[str, object]:
        """Return the body of the answer (RFC 9457)."""
        return {
            "type": f"/errors/{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.fields,
        }


class NotFound(PortalError):
    """There is no such thing, or the caller may not know that there is."""

    code = "not_found"
    status = 404
    title = "Not found"


class Unauthenticated(PortalError):
    """The caller has not said who they are, or not convincingly."""

    code = "unauthenticated"
    status = 401
    title = "Authentication required"


class Forbidden(PortalError):
    """A member lacks the permission, whose name is told."""

    code = "forbidden"
    status = 403
    title = "Permission denied"

    def __init__(self, detail: str = "", *, permission: str = "", **fields: Any) -> None:
        words = detail or f"Your role does not include the permission {permission}."
        extra: dict[str, Any] = {"permission": permission} if permission else {}
        super().__init__(words, **extra, **fields)
        self.permission = permission


class Conflict(PortalError):
    """The present state does not allow it."""

    code = "conflict"
    status = 409
    title = "Conflict with the present state"


class Invalid(PortalError):
    """The input does not make sense; every fault is listed."""

    code = "invalid"
    status = 422
    title = "The input is not valid"

    def __init__(
        self, detail: str = "", *, errors: Sequence[FieldError] = (), **fields: Any
    ) -> None:
        super().__init__(
            detail or (errors[0]["detail"] if errors else ""), errors=list(errors), **fields
        )
        self.errors = tuple(errors)

    @classmethod
    def at(cls, pointer: str, detail: str) -> Self:
        """Return the error of one thing in the input."""
        return cls(errors=[{"pointer": pointer, "detail": detail}])


class Unavailable(PortalError):
    """A service the portal stands on does not answer; it is worth asking again."""

    code = "unavailable"
    status = 503
    title = "Not available at the moment"


class QuotaExceeded(PortalError):
    """The plan does not include more of it."""

    code = "quota_exceeded"
    status = 429
    title = "The limit of the plan is reached"


class RateLimited(PortalError):
    """Too many requests in too short a time."""

    code = "rate_limited"
    status = 429
    title = "Too many requests"
