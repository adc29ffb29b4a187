"""Reasons for which a file, a query or a request to a cluster cannot be used."""

from collections.abc import Mapping

from portal.core.errors import PortalError

# Members of a problem that the error has attributes for.
_OWN_NAMES = frozenset({"type", "title", "status", "detail", "code", "instance"})


class UnreadableFile(Exception):
    """The file as a whole cannot be read; the text says what to change."""


class UnreadableQuery(Exception):
    """A box of the query form holds no JSON of the wanted kind."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field
        self.detail = detail


class ClusterRefused(PortalError):
    """The cluster answered an error; its code, text and pointers are passed on."""

    def __init__(self, status: int, code: str, detail: str, fields: Mapping[str, object]) -> None:
        extra = {name: value for name, value in fields.items() if name not in _OWN_NAMES}
        super().__init__(
            detail, code=code, status=status, title="The cluster refused the request", **extra
        )
        self.pointers = _pointers(fields)


def _pointers(fields: Mapping[str, object]) -> list[tuple[str, str]]:
    """Answer where in the request the cluster found faults."""
    errors = fields.get("errors")
    if not isinstance(errors, list):
        return []
    return [
        (str(item.get("pointer", "")), str(item.get("detail", "")))
        for item in errors
        if isinstance(item, dict)
    ]
