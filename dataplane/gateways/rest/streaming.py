"""Answers whose length nobody knows beforehand, written as fast as the client reads them."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable

log = logging.getLogger(__name__)


async def write_all(
    chunks: AsyncGenerator[bytes],
    write: Callable[[bytes], None],
    is_writable: asyncio.Event,
    *,
    is_chunked: bool,
) -> bool:
    """Write what comes, and the end of it; say whether it came to its end.

    A stream that fails gets no end: that is how the client knows that it is not whole.
    """
    try:
        async for chunk in chunks:
            if not is_chunked:
                write(chunk)
            elif chunk:
                write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await is_writable.wait()
    except Exception:
        log.exception("http.stream_failed")
        return False
    if is_chunked:
        write(b"0\r\n\r\n")
    return True
