"""The change feed as both clients read it: server-sent events, resumed behind the last place."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import httpx
import msgspec

from dataplane.client.calls import Call
from dataplane.client.errors import ApiError, ClientError, ClusterUnreachableError
from dataplane.client.refusals import refusal_of

PATH: Final = "/api/v1/changes"
EVENT_BYTES_MAX: Final = 32 * 1024 * 1024
SILENCE_S: Final = 45.0
"""A node shows every 15 s that it is alive; one that does not is left for another."""
RETRY_S: Final = 1.0
RETRY_S_MAX: Final = 60.0


class Feed:
    """One feed: where it is, and what the bytes of the stream say."""

    def __init__(
        self,
        *,
        after: str | int | None,
        collections: Sequence[str],
        filter: Mapping[str, Any] | None,  # noqa: A002 - as in queries
        documents: bool,
    ) -> None:
        self.place = None if after is None else str(after)
        self.retry_s = RETRY_S
        self._has_begun = False
        self._held = b""
        self._query: list[tuple[str, str]] = [("collection", name) for name in collections]
        if filter is not None:
            self._query.append(("filter", msgspec.json.encode(filter).decode()))
        if not documents:
            self._query.append(("include", "none"))

    def call(self) -> Call:
        """Return the request for what comes behind the place."""
        self._held = b""
        place = [] if self.place is None else [("after", self.place)]
        query = urlencode([*place, *self._query])
        return Call("GET", f"{PATH}?{query}" if query else PATH)

    def take(self, data: bytes) -> list[dict[str, Any]]:
        """Take bytes of the stream; return the changes that are now complete.

        Raises:
            ApiError: The node ended the feed, and says why.
        """
        self._has_begun = True
        self._held = (self._held + data).replace(b"\r\n", b"\n")
        *blocks, self._held = self._held.split(b"\n\n")
        if len(self._held) > EVENT_BYTES_MAX:
            raise ClientError(f"an event of over {EVENT_BYTES_MAX} bytes")
        return [change for block in blocks for change in self._change(block)]

    def _change(self, block: bytes) -> list[dict[str, Any]]:
        fields: dict[str, str] = {}
        for line in block.decode(errors="replace").split("\n"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        if fields.get("event") == "end":
            raise _problem(fields.get("data", ""))
        if fields.get("retry", "").isdigit():
            self.retry_s = min(int(fields["retry"]) / 1000, RETRY_S_MAX)
        self.place = fields.get("id", self.place)
        if "data" not in fields:
            return []
        return [{"place": self.place, **msgspec.json.decode(fields["data"])}]

    def interrupted(self, error: Exception) -> None:
        """Go on, unless the feed never began or repeating does not help.

        Raises:
            ClientError: The error that ends the feed.
        """
        passes = isinstance(error, httpx.HTTPError | ClusterUnreachableError) or (
            isinstance(error, ApiError) and error.is_passing
        )
        if not (passes and self._has_begun):
            raise error


def _problem(text: str) -> ApiError:
    try:
        fields = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        fields = {}
    status, code = fields.get("status", 500), fields.get("code", "unknown")
    return refusal_of(int(status), str(code), str(fields.get("detail", "")), fields)
