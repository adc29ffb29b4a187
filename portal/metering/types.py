"""What an event looks like and what the ingest answers about it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from portal.metering.constants import VALUE_MAX

type Status = Literal["accepted", "duplicate", "conflict", "rejected"]
type Json = bool | int | float | str | list[Json] | dict[str, Json] | None

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=32, pattern=r"^[a-z][a-z0-9_]*$")]


class UsageData(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"call_class": "class"}
):
    """The `data` of a usage event: one meter over one window."""

    cluster: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$")]
    meter: Label
    window_start: datetime
    window_end: datetime
    value: Annotated[int, msgspec.Meta(ge=0, le=VALUE_MAX)]
    # The number of a node, or "cluster" for what all nodes together state.
    node: Annotated[str, msgspec.Meta(pattern=r"^([0-9]{1,3}|cluster)$")] = "cluster"
    call_class: Label | None = None


class UsageEnvelope(msgspec.Struct, frozen=True):
    """A CloudEvents 1.0 envelope; extension attributes are allowed and part of the digest."""

    specversion: Literal["1.0"]
    id: Name
    source: Name
    type: Annotated[str, msgspec.Meta(max_length=100)]
    time: datetime
    data: UsageData


@dataclass(frozen=True, slots=True)
class Source:
    """The authenticated sender: a cluster of one organization."""

    schema: str
    cluster_id: UUID
    data_plane_id: str


@dataclass(frozen=True, slots=True)
class ParsedEvent:
    """An event that passed every check of shape, sender and time."""

    key: tuple[str, str]
    digest: bytes
    data: UsageData


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer about one event."""

    id: str
    source: str
    status: Status
    code: str | None = None
    detail: str | None = None

    def as_json(self) -> dict[str, str]:
        """Answer the wire shape, without empty members."""
        answer = {"id": self.id, "source": self.source, "status": str(self.status)}
        if self.code is not None:
            answer["code"] = self.code
        if self.detail is not None:
            answer["detail"] = self.detail
        return answer


@dataclass(frozen=True, slots=True)
class Period:
    """A half-open span of time."""

    start: datetime
    end: datetime
