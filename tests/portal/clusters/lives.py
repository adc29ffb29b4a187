"""Operations driven to their end in this process, and a writer that counts its retries."""

import secrets
import threading
import time

import httpx

from portal.clusters.models import Cluster, Operation
from portal.clusters.operations.engine import operation_advance
from portal.clusters.provisioners.process import driver


def finish(operation: Operation, *, state: str = "succeeded", seconds: float = 150) -> Operation:
    """Work on the operation until it is over."""
    deadline = time.monotonic() + seconds
    while operation_advance(operation.pk) and time.monotonic() < deadline:
        pass
    operation.refresh_from_db()
    steps = [(s.name, s.status, s.waiting_for, s.error) for s in operation.steps.all()]
    assert operation.state == state, steps
    return operation


def processes(cluster: Cluster) -> dict[int, int | None]:
    """Return the process of every node that the driver knows."""
    return {index: placed.pid for index, placed in driver().observe(str(cluster.pk)).items()}


def until(condition, *, seconds: float = 60) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not come about in {seconds} s"
        time.sleep(0.05)


class Writer:
    """Puts documents one after another, asking the next node only when one refuses."""

    def __init__(self, urls: list[str], token: str) -> None:
        self.count = 0
        self.retries_max = 0
        self.slowest_s = 0.0
        self.failure = ""
        self._urls, self._headers = urls, {"Authorization": f"Bearer {token}"}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        until(lambda: self.count >= 10 or self.failure)
        return self

    def __exit__(self, *_error) -> None:
        before = self.count
        until(lambda: self.count >= before + 10 or self.failure)
        self._ended.set()
        self._thread.join(30)

    def _run(self) -> None:
        with httpx.Client(timeout=30, trust_env=False, headers=self._headers) as http:
            while not self._ended.is_set() and not self.failure:
                began = time.monotonic()
                self._write(http)
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)

    def _write(self, http: httpx.Client) -> None:
        key = secrets.token_urlsafe(18)
        for retries in range(2 * len(self._urls)):
            answer = self._put(http, key)
            if answer is not None and answer.is_success:
                self.count += 1
                self.retries_max = max(self.retries_max, retries)
                return
            self._urls = [*self._urls[1:], self._urls[0]]
        self.failure = f"write {self.count} was refused by all: {answer}"

    def _put(self, http: httpx.Client, key: str) -> httpx.Response | None:
        url = f"{self._urls[0]}/api/v1/collections/load/documents/d{self.count % 50}"
        try:
            return http.put(url, json={"n": self.count}, headers={"Idempotency-Key": key})
        except httpx.TransportError:
            return None
