"""Usage as the portal receives it: nothing twice, nothing lost, also from a quiet cluster."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dataplane.client import Client
from dataplane.client.spec import UsageSpec
from tests.processes.conftest import wait_for

TOKEN = "aeu_test"
WINDOW_MS = 2_000


class Receiver:
    """A portal that refuses the first pushes and keeps everything it was told."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.told: list[dict[str, object]] = []
        self.wrong_tokens = 0
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(receiver.take(self.headers["Authorization"], body))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/internal/usage"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, authorization: str, body: bytes) -> int:
        with self._lock:
            if authorization != f"Bearer {TOKEN}":
                self.wrong_tokens += 1
                return 401
            self.told += json.loads(body)
            if self.refusals:
                self.refusals -= 1
                return 503
            return 202

    def facts(self, meter: str) -> dict[str, dict[str, object]]:
        with self._lock:
            return {str(e["id"]): e for e in self.told if e["type"] == f"aerolith.usage.{meter}"}


@pytest.fixture
def receiver():
    receiver = Receiver(refusals=2)
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@pytest.mark.slow
def test_usage_arrives_once_per_fact_also_when_the_portal_was_away(
    make_cluster, tmp_path, receiver
):
    token_file = tmp_path / "usage.token"
    token_file.write_text(TOKEN + "\n")
    usage = UsageSpec(receiver.url, str(token_file))
    cluster = make_cluster(3, usage=usage, usage_window_ms=WINDOW_MS)
    with Client(cluster.urls, cluster.api_key) as client:
        for number in range(30):
            client.put("things", f"d{number}", {"text": "x" * 100})
        stored = client.stats()["storage"]["used"]

    def calls() -> int:
        return sum(int(e["data"]["value"]) for e in receiver.facts("api_calls").values())

    # The cluster is quiet now: windows close all the same.
    wait_for(lambda: calls() >= 30, "every call is told")
    wait_for(
        lambda: any(e["data"]["value"] == stored for e in receiver.facts("storage_bytes").values()),
        "the stored bytes are told",
    )
    wait_for(lambda: len(receiver.facts("node_seconds")) >= 3, "uptime is told")
    assert calls() == 30
    assert receiver.wrong_tokens == 0
    for meter in ("api_calls", "storage_bytes", "node_seconds"):
        for fact, event in receiver.facts(meter).items():
            same = [e for e in receiver.told if e["id"] == fact]
            assert all(e == event for e in same), f"{fact} told with two payloads"
    storage = receiver.facts("storage_bytes").values()
    assert {e["source"] for e in storage} == {f"/clusters/{cluster.cluster_id}"}
    assert cluster.stop() == [0, 0, 0]
