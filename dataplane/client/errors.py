"""What a client of a cluster can meet."""

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """Base of everything this package raises."""


class SpecError(ClientError):
    """A node's specification cannot be used."""


class ClusterUnreachableError(ClientError):
    """No node of the cluster answered."""


class ApiError(ClientError):
    """A node answered with a problem (RFC 9457); `code` is stable, `fields` has the rest."""

    def __init__(self, status: int, code: str, detail: str, fields: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.fields = dict(fields)
