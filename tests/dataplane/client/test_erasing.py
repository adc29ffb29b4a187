"""How long a client asks for an erasure to be over."""

import httpx
import msgspec
import pytest

from dataplane.client import AsyncClient, Client, ErasureWaitsError
from dataplane.client.erasing import PATIENCE, PAUSE_S

URL, TOKEN = "http://node-0.example:7000", "adk_0_secret"


class Node:
    """Answers as many segments left as it is told to, and then the receipt."""

    def __init__(self, *left: int) -> None:
        self.left = list(left)
        self.asked: list[str | None] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/v1/gateways":
            return httpx.Response(404, json={"code": "not_found"})
        self.asked.append(msgspec.json.decode(request.content)["erasure"])
        is_over = not self.left
        body = {"erasure": "e1", "removed": {"c": 1}, "is_over": is_over}
        body["segments_left"] = 0 if is_over else self.left.pop(0)
        return httpx.Response(200 if is_over else 202, json=body)


@pytest.fixture(params=["client", "asyncio"])
def erase(request, monkeypatch):
    """Erase somebody with either client; return the receipt and the pauses."""
    pauses: list[float] = []

    async def slept(pause_s: float) -> None:
        pauses.append(pause_s)

    monkeypatch.setattr("dataplane.client.client.time.sleep", pauses.append)
    monkeypatch.setattr("dataplane.client.aio.asyncio.sleep", slept)

    async def run(node: Node) -> tuple[dict, list[float]]:
        transport = httpx.MockTransport(node.answer)
        if request.param == "client":
            with Client([URL], TOKEN, follow=False) as client:
                client._http = httpx.Client(transport=transport)
                return client.subject_erase("ada"), pauses
        async with AsyncClient([URL], TOKEN, follow=False) as client:
            client._http = httpx.AsyncClient(transport=transport)
            return await client.subject_erase("ada"), pauses

    return run


async def test_documents_that_are_left_are_asked_for_at_once_and_segments_after_a_while(erase):
    node = Node(0, 0, 3, 3, 1)
    receipt, pauses = await erase(node)
    assert receipt["is_over"]
    assert pauses == [0.0, 0.0, PAUSE_S, PAUSE_S, PAUSE_S]
    assert node.asked == [None, *["e1"] * 5]


async def test_a_client_gives_up_when_segments_are_not_made_anew_and_says_of_which_erasure(erase):
    node = Node(*[5] * PATIENCE, *[4] * 10_000)
    with pytest.raises(ErasureWaitsError, match="waits for 4 segments") as waiting:
        await erase(node)
    assert (waiting.value.erasure, waiting.value.segments_left) == ("e1", 4)
    assert len(node.asked) == 2 * PATIENCE + 1
