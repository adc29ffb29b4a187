"""The HTTP server on real sockets: order, limits, and clients that behave badly."""

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.gateways.errors import TITLES, Problem
from dataplane.gateways.rest import http
from dataplane.gateways.rest.http import REASONS, HttpServer, Request, Response
from dataplane.gateways.rest.responses import problem_response

BODY_MAX = 64 * 1024
DEADLINE_S = 20


class Echo:
    """Answers with what it was asked; `/slow` waits until it is let go."""

    def __init__(self):
        self.began = asyncio.Event()
        self.let_go = asyncio.Event()
        self.served: list[str] = []

    async def __call__(self, request: Request) -> Response:
        if request.path == "/slow":
            self.began.set()
            await self.let_go.wait()
        self.served.append(request.path)
        if request.path == "/big":
            return Response(200, b"x" * 1_000_000, "text/plain")
        text = f"{request.method} {request.path} {len(request.body)} {request.headers.get('x')}"
        return Response(200, text.encode(), "text/plain")


def refuse(code: str, detail: str, path: str) -> Response:
    return problem_response(Problem(code, detail), path)


@pytest.fixture
async def echo():
    return Echo()


@pytest.fixture
async def server(echo):
    server = HttpServer(echo, refuse, body_bytes_max=BODY_MAX, connections_max=4)
    await server.start("127.0.0.1", 0)
    yield server
    await server.stop(grace_s=0.1)


@pytest.fixture
async def connect(server):
    async with contextlib.AsyncExitStack() as stack:

        async def connect():
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            stack.callback(writer.close)
            return reader, writer

        yield connect


async def answer(reader: asyncio.StreamReader, *, head: bool = False) -> tuple[int, dict, bytes]:
    """Read one response."""
    async with asyncio.timeout(DEADLINE_S):
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        size = 0 if head else int(headers.get("content-length", "0"))
        return int(lines[0].split()[1]), headers, await reader.readexactly(size)


async def ended(reader: asyncio.StreamReader) -> bool:
    """Tell whether the server closed, and sent nothing more."""
    async with asyncio.timeout(DEADLINE_S):
        return await reader.read() == b""


def request(path: str, extra: str = "", method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: a\r\n{extra}\r\n".encode()


async def test_pipelined_requests_are_answered_in_order(connect, echo):
    reader, writer = await connect()
    echo.let_go.set()
    writer.write(b"".join(request("/slow" if n % 7 == 0 else f"/{n}") for n in range(200)))
    for n in range(200):
        status, _, body = await answer(reader)
        assert status == 200
        assert body.split()[1] == (b"/slow" if n % 7 == 0 else b"/%d" % n)


async def test_a_refusal_waits_for_the_answers_before_it(connect, echo):
    reader, writer = await connect()
    writer.write(request("/slow") + b"nonsense\r\n\r\n")
    await asyncio.sleep(0)
    echo.let_go.set()
    assert (await answer(reader))[2].startswith(b"GET /slow")
    status, headers, _ = await answer(reader)
    assert (status, headers["connection"]) == (400, "close")
    assert await ended(reader)


async def test_chunked_bodies_are_joined_and_trailers_dropped(connect):
    reader, writer = await connect()
    writer.write(
        request("/c", "Transfer-Encoding: chunked\r\nX: head\r\n", "POST")
        + b"3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX: trailer\r\n\r\n"
    )
    assert (await answer(reader))[2] == b"POST /c 5 head"


async def test_a_chunked_body_is_bounded_while_it_arrives(connect):
    reader, writer = await connect()
    writer.write(request("/c", "Transfer-Encoding: chunked\r\n", "POST"))
    for _ in range(5):
        writer.write(b"4000\r\n" + b"z" * 0x4000 + b"\r\n")
    assert (await answer(reader))[0] == 413
    assert await ended(reader)


async def test_endless_trailers_are_refused(connect):
    reader, writer = await connect()
    writer.write(request("/c", "Transfer-Encoding: chunked\r\n", "POST") + b"0\r\nX: ")
    for _ in range(5):
        writer.write(b"y" * BODY_MAX)
    assert (await answer(reader))[0] == 413


async def test_a_client_that_sends_on_still_gets_the_refusal(connect):
    reader, writer = await connect()
    writer.write(request("/c", f"Content-Length: {BODY_MAX + 1}\r\n", "PUT") + b"z" * BODY_MAX)
    assert (await answer(reader))[0] == 413


async def test_a_large_body_before_the_next_head_is_not_counted_as_headers(connect):
    reader, writer = await connect()
    body = b"z" * BODY_MAX
    whole = request("/a", f"Content-Length: {len(body)}\r\n", "PUT") + body
    next_one = request("/b")
    writer.write(whole + next_one[:-3])
    await answer(reader)
    writer.write(next_one[-3:])
    assert (await answer(reader))[2].startswith(b"GET /b")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (request("/", "Authorization: a\r\nAuthorization: b\r\n"), 400),
        (request("/", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "POST"), 400),
        (request("/", "Content-Length: 3\r\nContent-Length: 4\r\n", "POST"), 400),
        (request("/", "Content-Length: -1\r\n", "POST"), 400),
        (request("/", f"Content-Length: {10**30}\r\n", "POST"), 400),
        (request("/", "Upgrade: h2c\r\nContent-Length: 9\r\n", "PUT") + b"GET / x\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 70_000, 431),
        (b"GET /" + b"y" * 70_000, 431),
        (request("/", "".join(f"h{n}: {'v' * 100}\r\n" for n in range(400))), 431),
    ],
)
async def test_what_is_no_good_request_is_refused_and_closed(connect, echo, raw, status):
    reader, writer = await connect()
    writer.write(raw)
    assert (await answer(reader))[0] == status
    assert await ended(reader)
    assert echo.served == []


async def test_an_upgrade_that_is_not_offered_is_passed_over(connect):
    reader, writer = await connect()
    upgrade = "Connection: Upgrade\r\nUpgrade: h2c\r\n"
    writer.write(request("/a", upgrade) + request("/b"))
    assert [(await answer(reader))[2].split()[1] for _ in range(2)] == [b"/a", b"/b"]


async def test_expect_100_is_answered_before_the_body(connect):
    reader, writer = await connect()
    writer.write(request("/c", "Expect: 100-continue\r\nContent-Length: 3\r\n", "PUT"))
    assert (await answer(reader))[0] == 100
    writer.write(b"abc")
    assert (await answer(reader))[2] == b"PUT /c 3 None"


async def test_connection_close_is_honoured(connect):
    reader, writer = await connect()
    writer.write(request("/a", "Connection: close\r\n") + request("/b"))
    status, headers, _ = await answer(reader)
    assert (status, headers["connection"]) == (200, "close")
    assert await ended(reader)


async def test_head_has_the_length_but_no_body(connect):
    reader, writer = await connect()
    writer.write(request("/a", method="HEAD") + request("/b"))
    _, headers, _ = await answer(reader, head=True)
    assert int(headers["content-length"]) > 0
    assert (await answer(reader))[2].startswith(b"GET /b")


async def test_a_client_that_does_not_read_gets_no_more_answers_made(connect, echo, monkeypatch):
    reader, writer = await connect()
    writer.write(request("/big") * 500)
    async with asyncio.timeout(DEADLINE_S):
        seen = -1
        while len(echo.served) != seen:  # Until the server rests.
            seen = len(echo.served)
            await asyncio.sleep(0.2)
    assert 0 < seen < 100, "answers pile up in memory"
    for _ in range(500):
        assert len((await answer(reader))[2]) == 1_000_000


async def test_a_slow_request_and_a_slow_reader_are_given_up(connect, server, echo, monkeypatch):
    monkeypatch.setattr(http, "REQUEST_TIMEOUT_S", 0.0)
    slow_reader, slow_writer = await connect()
    slow_writer.write(b"GET / HTTP/1.1\r\nHo")
    stuck_reader, stuck_writer = await connect()
    stuck_writer.write(request("/big") * 100)
    async with asyncio.timeout(DEADLINE_S):
        while server.connection_count:
            server.sweep()
            await asyncio.sleep(0.05)
    assert (await answer(slow_reader))[0] == 408
    with contextlib.suppress(ConnectionError):
        assert len(await stuck_reader.read(-1)) < 100_000_000


async def test_an_idle_connection_is_closed(connect, server, monkeypatch):
    reader, writer = await connect()
    writer.write(request("/a"))
    await answer(reader)
    monkeypatch.setattr(http, "IDLE_TIMEOUT_S", 0.0)
    await asyncio.sleep(0.01)
    server.sweep()
    assert await ended(reader)


async def test_connections_over_the_limit_are_refused(connect, server):
    open_ones = [await connect() for _ in range(4)]
    reader, _ = await connect()
    assert (await answer(reader))[0] == 429
    for open_reader, open_writer in open_ones:
        open_writer.write(request("/a"))
        assert (await answer(open_reader))[0] == 200


async def test_bodies_held_at_once_are_bounded_and_counted_back(connect, server, echo):
    slow_body = request("/slow", f"Content-Length: {BODY_MAX}\r\n", "PUT") + b"z" * BODY_MAX
    server.hold(15 * BODY_MAX)
    reader, writer = await connect()
    writer.write(slow_body)
    other_reader, other_writer = await connect()
    async with asyncio.timeout(DEADLINE_S):
        while server.hold(1):  # Until the first body is all here.
            server.release(1)
            await asyncio.sleep(0.01)
    other_writer.write(slow_body)
    assert (await answer(other_reader))[0] == 429
    echo.let_go.set()
    assert (await answer(reader))[0] == 200
    assert server.hold(BODY_MAX)


async def test_a_body_half_sent_is_counted_back_when_its_client_goes(connect, server):
    _, writer = await connect()
    writer.write(request("/a", f"Content-Length: {BODY_MAX}\r\n", "PUT") + b"z" * 1000)
    async with asyncio.timeout(DEADLINE_S):
        while server.hold(16 * BODY_MAX):
            server.release(16 * BODY_MAX)
            await asyncio.sleep(0.01)
        writer.close()
        while not server.hold(16 * BODY_MAX):  # noqa: ASYNC110 - the server has no such event
            await asyncio.sleep(0.01)


async def test_stopping_lets_running_requests_finish(connect, server, echo):
    reader, writer = await connect()
    writer.write(request("/slow"))
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        await echo.began.wait()
        group.create_task(server.stop(grace_s=DEADLINE_S))
        asyncio.get_running_loop().call_later(0.1, echo.let_go.set)
    status, headers, _ = await answer(reader)
    assert (status, headers["connection"]) == (200, "close")


def test_every_status_has_its_reason():
    assert {status for status, _ in TITLES.values()} <= set(REASONS)


class Streams:
    """Answers with streams, and remembers how they ended."""

    def __init__(self):
        self.ended: list[str] = []
        self.let_go = asyncio.Event()
        self.written = 0

    async def __call__(self, request: Request) -> Response:
        return Response(200, content_type="text/plain", chunks=self.chunks(request.path))

    async def chunks(self, path: str):
        try:
            yield b"begin"
            if path == "/endless":
                while True:
                    self.written += 1
                    yield b"x" * 65536
            if path == "/slow":
                await self.let_go.wait()
            if path == "/broken":
                raise ValueError("no more")
            yield b""
            yield b"end"
        finally:
            self.ended.append(path)


@pytest.fixture
async def echo_of_streams():
    return Streams()


@pytest.fixture
async def connect_to_streams(echo_of_streams):
    server = HttpServer(echo_of_streams, refuse, body_bytes_max=BODY_MAX, connections_max=4)
    await server.start("127.0.0.1", 0)
    async with contextlib.AsyncExitStack() as stack:

        async def connect():
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            stack.callback(writer.close)
            return reader, writer, server

        yield connect
    await server.stop(grace_s=0.1)


async def test_a_stream_is_chunked_and_the_connection_goes_on(connect_to_streams):
    reader, writer, _ = await connect_to_streams()
    writer.write(request("/a") + request("/b"))
    async with asyncio.timeout(DEADLINE_S):
        for _ in range(2):
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"Transfer-Encoding: chunked" in head
            assert b"Content-Length" not in head
            assert await reader.readexactly(23) == b"5\r\nbegin\r\n3\r\nend\r\n0\r\n\r\n"


async def test_an_old_client_knows_the_end_by_that_of_the_connection(connect_to_streams):
    reader, writer, _ = await connect_to_streams()
    writer.write(b"GET /a HTTP/1.0\r\n\r\n")
    async with asyncio.timeout(DEADLINE_S):
        head, body = (await reader.read()).split(b"\r\n\r\n")
    assert b"chunked" not in head
    assert body == b"beginend"


async def test_a_stream_that_fails_has_no_end(connect_to_streams, echo_of_streams):
    reader, writer, _ = await connect_to_streams()
    writer.write(request("/broken"))
    async with asyncio.timeout(DEADLINE_S):
        assert (await reader.read()).endswith(b"5\r\nbegin\r\n")
    assert echo_of_streams.ended == ["/broken"]


async def test_a_reader_that_does_not_read_stops_the_stream(connect_to_streams, echo_of_streams):
    _, writer, server = await connect_to_streams()
    writer.write(request("/endless"))
    async with asyncio.timeout(DEADLINE_S):
        while True:
            before = echo_of_streams.written
            for _ in range(20):
                await asyncio.sleep(0.001)
            if before and echo_of_streams.written == before:
                break
        assert echo_of_streams.written < 1_000
        writer.transport.abort()
        while server.connection_count:  # noqa: ASYNC110 - the server has no such event
            await asyncio.sleep(0.001)
        while not echo_of_streams.ended:  # noqa: ASYNC110 - nor this
            await asyncio.sleep(0.001)
    assert echo_of_streams.ended == ["/endless"]


async def test_stopping_lets_a_stream_come_to_its_end(connect_to_streams, echo_of_streams):
    reader, writer, server = await connect_to_streams()
    writer.write(request("/slow"))
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        await reader.readuntil(b"begin\r\n")
        group.create_task(server.stop(grace_s=DEADLINE_S))
        asyncio.get_running_loop().call_soon(echo_of_streams.let_go.set)
        assert await reader.read() == b"3\r\nend\r\n0\r\n\r\n"


async def test_a_head_of_a_stream_has_no_body(connect_to_streams):
    reader, writer, _ = await connect_to_streams()
    writer.write(request("/a", method="HEAD"))
    writer.write(request("/a"))
    async with asyncio.timeout(DEADLINE_S):
        await reader.readuntil(b"\r\n\r\n")
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")


_PIECES = [
    b"GET / HTTP/1.1\r\n",
    b"POST /x HTTP/1.1\r\n",
    b"Host: a\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: 99999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Upgrade: websocket\r\n",
    b"Connection: Upgrade\r\n",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"\r\n",
    b"abc",
    b"3\r\nabc\r\n",
    b"0\r\n\r\n",
    b"\x00\xff",
]


@settings(max_examples=100)
@given(
    st.lists(st.sampled_from(_PIECES) | st.binary(max_size=12), max_size=14),
    st.integers(min_value=1, max_value=40),
)
def test_any_bytes_are_answered_in_http_or_by_closing_and_others_are_served(pieces, size):
    async def talk():
        server = HttpServer(
            Echo(), refuse, body_bytes_max=64, connections_max=4, switches=frozenset({"/x"})
        )
        await server.start("127.0.0.1", 0)
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            data = b"".join(pieces)
            with contextlib.suppress(ConnectionError):
                for start in range(0, len(data), size):
                    writer.write(data[start : start + size])
                    await asyncio.sleep(0)
                writer.write_eof()
                async with asyncio.timeout(DEADLINE_S):
                    told = await reader.read()
                assert told == b"" or told.startswith(b"HTTP/1.1 ")
                assert b"HTTP/1.1 500" not in told
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(request("/after"))
            status, _, _ = await answer(reader)
            writer.close()
            assert status == 200
            assert server._held_bytes == 0
        finally:
            await server.stop(grace_s=0.1)

    asyncio.run(talk())
