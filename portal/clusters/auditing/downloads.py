"""Lines of JSON as a file that is sent while it is read."""

from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import Final

from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse

LINES_AT_ONCE: Final = 500
LINES_TYPE: Final = "application/x-ndjson"


def lines_download(lines: Iterator[bytes], filename: str) -> StreamingHttpResponse:
    """Answer lines as a file."""
    return StreamingHttpResponse(
        _pieces(lines),
        content_type=LINES_TYPE,
        headers={
            "Content-Disposition": f'attachment; filename="{filename}"',
            "Cache-Control": "no-store",
        },
    )


async def _pieces(lines: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield some lines at a time: the web server gathers all of what is not asynchronous first."""

    def some() -> bytes:
        return b"".join(islice(lines, LINES_AT_ONCE))

    while piece := await sync_to_async(some, thread_sensitive=False)():
        yield piece
