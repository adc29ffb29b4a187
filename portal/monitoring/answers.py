"""What a node answers to the collector: of a bounded size, or refused."""

import httpx

from portal.monitoring.constants import RESPONSE_BYTES_MAX
from portal.monitoring.errors import UnexpectedAnswer


async def answer_read(http: httpx.AsyncClient, url: str, token: str) -> bytes:
    """Return the body of a successful answer.

    Raises:
        UnexpectedAnswer: the node refuses, or says too much.
        httpx.HTTPError: it is not reached.
    """
    headers = {"Authorization": f"Bearer {token}"}
    async with http.stream("GET", url, headers=headers) as response:
        if response.status_code != httpx.codes.OK:
            raise UnexpectedAnswer(str(response.status_code))
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > RESPONSE_BYTES_MAX:
                raise UnexpectedAnswer("too large")
    return bytes(body)
