"""The change feed as server-sent events."""

from collections.abc import AsyncGenerator
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from dataplane.documents.values import parse_json_document
from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem, problem_of
from dataplane.gateways.feeds import Feed, FeedRequest, parse_place
from dataplane.gateways.rest.http import Request, Response

FILTER_BYTES_MAX: Final = 16 * 1024
RETRY_MS: Final = 1_000
EVENT_STREAM: Final = "text/event-stream"
INCLUDES: Final = ("document", "none")
_HEADERS: Final = (("Cache-Control", "no-store"), ("X-Accel-Buffering", "no"))


async def changes(context: Context, request: Request, caller: Caller) -> Response:
    """GET what happens to documents, from a place on, until the reader has enough."""
    asked, with_document = feed_request(request)
    feed = context.feeds.open(caller, asked)
    headers = [*_HEADERS, *context.position(context.cluster.executed)]
    if request.method == "HEAD":
        return Response(200, b"", EVENT_STREAM, headers)
    chunks = _events(feed, request.path, with_document=with_document)
    return Response(200, b"", EVENT_STREAM, headers, chunks)


def feed_request(request: Request) -> tuple[FeedRequest, bool]:
    """Return what is asked for, and whether with documents.

    Raises:
        Problem: `invalid`.
        Refusal: The filter is not JSON.
    """
    given: dict[str, list[str]] = {}
    for name, value in parse_qsl(request.query_text, keep_blank_values=True):
        given.setdefault(name, []).append(value)
    last = request.headers.get("last-event-id") or given.get("after", [""])[-1]
    include = given.get("include", ["document"])[-1]
    if include not in INCLUDES:
        fault = {"pointer": "/include", "detail": f"one of {', '.join(INCLUDES)}"}
        raise Problem("invalid", "include is document or none", {"errors": [fault]})
    filter_: dict[str, Any] | None = None
    if "filter" in given:
        filter_ = parse_json_document(given["filter"][-1].encode(), bytes_max=FILTER_BYTES_MAX)
    asked = FeedRequest(
        after=parse_place(last) if last else None,
        collections=tuple(dict.fromkeys(given.get("collection", []))),
        filter=filter_,
    )
    return asked, include == "document"


async def _events(feed: Feed, path: str, *, with_document: bool) -> AsyncGenerator[bytes]:
    """Yield the text of the stream; a sign of life moves the place of the reader on too."""
    async with feed:
        yield b"retry: %d\nid: %s\n\n" % (RETRY_MS, str(feed.place).encode())
        try:
            async for place, events in feed:
                yield (
                    b"".join(
                        [
                            b"id: %s\ndata: %s\n\n"
                            % (
                                str(event.place).encode(),
                                event.rendered(with_document=with_document),
                            )
                            for event in events
                        ]
                    )
                    or b": alive\nid: %s\n\n" % str(place).encode()
                )
        except Exception as error:
            problem = problem_of(error)
            if problem is None:
                raise
            yield b"event: end\ndata: %s\n\n" % msgspec.json.encode(problem.body(path))
