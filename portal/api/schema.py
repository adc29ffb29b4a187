"""Which routes the OpenAPI document describes."""

from collections.abc import Sequence
from typing import Any

type Endpoint = tuple[str, str, str, Any]


def only_v1(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """Leave out what is not part of the contract."""
    return [endpoint for endpoint in endpoints if endpoint[0].startswith("/api/v1/")]
