"""A closed-loop HTTP load generator: N connections, one outstanding request each.

Method (as for the peers it is compared with): a warm-up, then a window in which the latency of
every request of every connection is kept; at its start and end the CPU time of all server processes
and of this client is read from /proc. Everything that is not a success is counted apart.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import override

import httptools

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Result:
    """What a window showed; times in milliseconds, CPU in microseconds an operation."""

    operations: int = 0
    failures: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    server_cpu_us: float = 0.0
    client_cpu_us: float = 0.0
    others_share: float = 0.0

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.operations / self.seconds

    def percentile(self, share: float) -> float:
        """Return the latency below which that share of the requests lies."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0

    def line(self, name: str) -> str:
        """Return one row for the table."""
        return (
            f"{name:<34} {self.rate:>9.0f} ops/s  p50 {self.percentile(0.5):>7.2f}"
            f"  p95 {self.percentile(0.95):>7.2f}  p99 {self.percentile(0.99):>7.2f} ms"
            f"  server {self.server_cpu_us:>7.0f} us/op  client {self.client_cpu_us:>5.0f} us/op"
            f"  others {self.others_share:>3.0%} CPU  failures {self.failures}"
        )


def cpu_seconds(pids: list[int]) -> float:
    """Return user and system time of processes so far."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS_PER_S


def machine_seconds() -> tuple[float, float]:
    """Return (busy, total) time of all processors so far."""
    numbers = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    idle = numbers[3] + numbers[4]
    return (sum(numbers) - idle) / TICKS_PER_S, sum(numbers) / TICKS_PER_S


class Connection(asyncio.Protocol):
    """One connection that sends the next request as soon as it has an answer."""

    def __init__(self, requests: Iterator[bytes], record: Callable[[float, int], None]) -> None:
        self._requests = requests
        self._record = record
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._sent_at = 0.0
        self.stopped = False

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = transport  # type: ignore[assignment]
        self._send()

    def _send(self) -> None:
        assert self._transport is not None
        self._sent_at = time.perf_counter()
        self._transport.write(next(self._requests))

    @override
    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Record the answer and go on."""
        self._record(time.perf_counter() - self._sent_at, self._parser.get_status_code())
        self._parser = httptools.HttpResponseParser(self)
        if not self.stopped:
            self._send()

    def close(self) -> None:
        """Stop."""
        self.stopped = True
        if self._transport is not None:
            self._transport.close()


def request_bytes(method: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Return an HTTP/1.1 request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


async def run_load(
    addresses: list[tuple[str, int]],
    requests: Callable[[int], Iterator[bytes]],
    *,
    connections: int,
    warm_up_s: float,
    window_s: float,
    server_pids: list[int],
) -> Result:
    """Drive servers, connections spread over them, and return what the window showed."""
    loop = asyncio.get_running_loop()
    result = Result()
    measuring = False

    def record(seconds: float, status: int) -> None:
        if not measuring:
            return
        if 200 <= status < 300:
            result.operations += 1
            result.latencies.append(seconds * 1000)
        else:
            result.failures += 1

    opened: list[Connection] = []
    for number in range(connections):
        host, port = addresses[number % len(addresses)]
        make = partial(Connection, requests(number), record)
        _, protocol = await loop.create_connection(make, host, port)
        opened.append(protocol)
    await asyncio.sleep(warm_up_s)
    before = reading(server_pids)
    measuring = True
    await asyncio.sleep(window_s)
    measuring = False
    after = reading(server_pids)
    for connection in opened:
        connection.close()
    conclude(result, before, after)
    return result


type Reading = tuple[float, float, float, tuple[float, float]]
"""Of a clock, the servers' CPU, this client's, and that of the machine."""


def reading(server_pids: list[int]) -> Reading:
    """Return the times that a window begins or ends with."""
    return time.perf_counter(), cpu_seconds(server_pids), time.process_time(), machine_seconds()


def conclude(result: Result, before: Reading, after: Reading) -> None:
    """Put down what a window took, from the times at both of its ends."""
    result.seconds = after[0] - before[0]
    done = max(1, result.operations)
    servers, client = after[1] - before[1], after[2] - before[2]
    result.server_cpu_us = servers / done * 1e6
    result.client_cpu_us = client / done * 1e6
    busy, total = after[3][0] - before[3][0], after[3][1] - before[3][1]
    result.others_share = max(0.0, (busy - servers - client) / total) if total else 0.0
