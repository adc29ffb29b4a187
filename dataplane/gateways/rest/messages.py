"""Requests and responses of HTTP, and what a connection may turn into."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Protocol
from urllib.parse import parse_qsl

REASONS: Final = {status.value: status.phrase for status in HTTPStatus}


@dataclass(slots=True)
class Request:
    """A whole request; header names are lower case."""

    method: str
    path: str
    query_text: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool
    http_version: str = "1.1"

    @property
    def query(self) -> dict[str, str]:
        """The query parameters; of a repeated one the last."""
        return dict(parse_qsl(self.query_text, keep_blank_values=True))


@dataclass(slots=True)
class Response:
    """What goes back."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: list[tuple[str, str]] = field(default_factory=list)
    chunks: AsyncGenerator[bytes] | None = None
    """Follows `body`, piece by piece, as fast as the client reads. When it raises, the connection
    ends without the mark of a whole answer."""
    switch: "Switch | None" = None
    """After this answer, 101, the connection speaks another protocol."""


class Switched(Protocol):
    """The protocol that a connection speaks after an upgrade."""

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        ...

    def pause_writing(self) -> None:
        """Learn that the client does not read as fast as it is written to."""
        ...

    def resume_writing(self) -> None:
        """Learn that it caught up."""
        ...

    def connection_lost(self) -> None:
        """Learn that the connection is gone."""
        ...

    def expire(self, now: float) -> None:
        """Look whether the client is still there."""
        ...

    def stop(self) -> None:
        """Say goodbye and close: the node stops."""
        ...


class Hold(Protocol):
    """Counts bytes that are kept; False when the node keeps too many already."""

    def __call__(self, size_bytes: int) -> bool:
        """Count so many more; fewer when the number is negative."""
        ...


type Switch = Callable[[asyncio.Transport, Hold], Switched]
type App = Callable[[Request], Awaitable[Response]]
type Refuse = Callable[[str, str, str], Response]
"""(code, detail, path) -> the response for a request that never became one."""


def render(response: Response, *, keep_alive: bool, head_only: bool) -> bytes:
    """Return the bytes of a response."""
    lines = [f"HTTP/1.1 {response.status} {REASONS[response.status]}"]
    if response.status not in {101, 204}:
        lines.append(f"Content-Type: {response.content_type}")
        if response.chunks is None:
            lines.append(f"Content-Length: {len(response.body)}")
    lines += [f"{name}: {value}" for name, value in response.headers]
    if not keep_alive:
        lines.append("Connection: close")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    return head if head_only else head + response.body
