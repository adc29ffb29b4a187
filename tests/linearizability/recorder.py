"""Clients that remember what they asked real nodes for, what they were told, and when."""

import random
import threading
import time
from dataclasses import dataclass, replace

import httpx

from dataplane.client.local import LocalCluster
from dataplane.simulation.linearizability import ABSENT, Operation, Seen

TIMEOUT_S = 10.0
HISTORY_OF_KEY = 200
"""So many operations a key sees at most, more or less, before another takes its place."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an answer says; None of one means that nothing was or will be done."""

    answer: Seen
    accepted: bool = True


class Recorder:
    """A history that many clients write to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._operations: list[Operation] = []

    def add(self, operation: Operation) -> None:
        with self._lock:
            self._operations.append(operation)

    @property
    def history(self) -> list[Operation]:
        with self._lock:
            return list(self._operations)

    @property
    def answered(self) -> int:
        return sum(operation.returned is not None for operation in self.history)


class RecordingClient:
    """One client of one node at a time."""

    def __init__(self, cluster: LocalCluster, recorder: Recorder) -> None:
        self._urls = cluster.urls
        self._recorder = recorder
        headers = {"Authorization": f"Bearer {cluster.api_key}"}
        self._http = httpx.Client(headers=headers, timeout=TIMEOUT_S, trust_env=False)

    def read(self, node: int, key: str, consistency: str = "strong") -> None:
        url = f"{self._url(node, key)}?consistency={consistency}"
        self._do(Operation(key, "read", time.monotonic_ns()), "GET", url)

    def write(self, node: int, key: str, value: int) -> None:
        started = Operation(key, "write", time.monotonic_ns(), value=value)
        self._do(started, "PUT", self._url(node, key))

    def swap(self, node: int, key: str, value: int, expected: int) -> None:
        called = time.monotonic_ns()
        started = Operation(key, "cas", called, value=value, expected=expected)
        condition = {"If-Match": f'"{expected}"'} if expected else {"If-None-Match": "*"}
        self._do(started, "PUT", self._url(node, key), condition)

    def _url(self, node: int, key: str) -> str:
        return f"{self._urls[node]}/api/v1/collections/registers/documents/{key}"

    def _do(
        self, started: Operation, method: str, url: str, headers: dict[str, str] | None = None
    ) -> None:
        body = None if started.kind == "read" else {"value": started.value}
        try:
            response = self._http.request(method, url, json=body, headers=headers)
        except httpx.ConnectError:
            return  # Nothing was sent.
        except httpx.HTTPError:
            self._recorder.add(started)
            return
        returned = time.monotonic_ns()
        outcome = outcome_of(started, response)
        if outcome is None:
            self._recorder.add(started)
            return
        self._recorder.add(
            replace(started, returned=returned, answer=outcome.answer, accepted=outcome.accepted)
        )


def outcome_of(started: Operation, response: httpx.Response) -> Outcome | None:
    """Return what the answer says, None when it leaves the outcome open."""
    body = response.json()
    if response.is_success:
        return Outcome((body["_version"], body["value"]))
    match response.status_code, started.kind:
        case 404, "read":
            return Outcome(ABSENT)
        case 412, "cas":
            return Outcome((body.get("version", 0), None), accepted=False)
        case 503, _:
            return None
    raise AssertionError(f"{started} answered {response.status_code} {body}")


class Crowd:
    """Threads that read, write and swap a few keys on any node until told to stop."""

    def __init__(self, cluster: LocalCluster, *, clients: int, keys: int) -> None:
        self.recorder = Recorder()
        self._cluster = cluster
        self._key_count = keys
        self._stop = threading.Event()
        self.errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(number,), daemon=True)
            for number in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        draw = random.Random(number)
        client = RecordingClient(self._cluster, self.recorder)
        version = 0
        value = number * 1_000_000
        try:
            while not self._stop.is_set():
                value += 1
                node = draw.randrange(len(self._cluster.members))
                key = self._key(draw.randrange(self._key_count))
                match draw.randrange(4):
                    case 0 | 1:
                        client.read(node, key)
                    case 2:
                        client.write(node, key, value)
                    case _:
                        client.swap(node, key, value, version)
                version = self._newest(key)
        except BaseException as error:
            self.errors.append(error)
            raise

    def _key(self, number: int) -> str:
        """Return a key that others use now; on a slow machine one key's history grew too long."""
        return f"k{number}-{len(self.recorder.history) // (HISTORY_OF_KEY * self._key_count)}"

    def _newest(self, key: str) -> int:
        """Guess the version that the next swap of a key expects; it is right now and then."""
        seen = [o.answer[0] for o in self.recorder.history[-20:] if o.key == key and o.answer]
        return max(seen, default=0)

    def stop(self) -> list[Operation]:
        """End the clients; return the history."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)
            assert not thread.is_alive()
        assert not self.errors, self.errors
        return self.recorder.history
