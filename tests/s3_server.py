"""A real S3 server (SeaweedFS) that tests may stop and start, and a door before it that holds."""

import contextlib
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import override

import httpx

from dataplane.client.local import free_ports

SERVERS = ("master", "volume", "filer", "s3")
HELD_S_MAX = 60.0


class S3Server:
    """One server on ports of its own, with its data in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        ports = iter(free_ports(2 * len(SERVERS)))
        named = {server: next(ports) for server in SERVERS}
        self._options = [f"-{server}.port={port}" for server, port in named.items()]
        self._options += [f"-{server}.port.grpc={next(ports)}" for server in SERVERS]
        self.url = f"http://127.0.0.1:{named['s3']}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, bucket: str) -> None:
        """Start it, and make a bucket unless it is there."""
        command = [
            str(Path(sys.executable).with_name("weed")),
            "server",
            "-s3",
            "-ip=127.0.0.1",
            f"-dir={self.directory}",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            *self._options,
        ]
        path = self.directory / "log"
        with path.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.directory)
        deadline = time.monotonic() + 60
        while not _has_bucket(f"{self.url}/{bucket}"):
            assert time.monotonic() < deadline, path.read_text()[-2000:]
            assert self._process.poll() is None, path.read_text()[-2000:]
            time.sleep(0.2)

    def stop(self) -> None:
        """Kill it; what it acknowledged is on the disk."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None


def lock_bucket(url: str) -> None:
    """Make a bucket that keeps every version of every object for a day."""
    headers = {"x-amz-bucket-object-lock-enabled": "true"}
    httpx.put(url, headers=headers, trust_env=False).raise_for_status()
    rule = (
        "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>"
        "<DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention>"
        "</Rule></ObjectLockConfiguration>"
    )
    locked = httpx.put(f"{url}?object-lock", content=rule, trust_env=False)
    locked.raise_for_status()


def _has_bucket(url: str) -> bool:
    try:
        made = httpx.put(url, timeout=5, trust_env=False)
    except httpx.HTTPError:
        return False
    return made.is_success or made.status_code == httpx.codes.CONFLICT


class Hold:
    """One request that is to be held."""

    def __init__(self, method: str, where: str) -> None:
        self.method, self.where = method, where
        self.arrived, self.released = threading.Event(), threading.Event()


class Door:
    """A proxy before a server that holds the next request of a kind before or behind it."""

    def __init__(self, target: str) -> None:
        door = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                door.pass_on(self)

            do_PUT = do_HEAD = do_DELETE = do_POST = do_GET  # noqa: N815 - names of the base

            @override
            def log_message(self, *_: object) -> None:
                return

        self._target = target
        self._client = httpx.Client(trust_env=False, timeout=20)
        self._next: Hold | None = None
        self._held: Hold | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", free_ports(1)[0]), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.refused: frozenset[str] = frozenset()
        """Methods that the store does not allow for a while."""
        self.is_shut = False
        """Whether nobody is answered, as if there were no store."""
        self.seen: list[tuple[str, str]] = []
        """Methods and paths, in the order in which they came."""
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def hold(self, method: str, where: str) -> None:
        """Hold the next request with a method, "before" or "behind" the server."""
        self._next = Hold(method, where)

    def wait_held(self) -> None:
        """Wait until the request that is to be held has come."""
        hold = self._held if self._next is None else self._next
        assert hold is not None
        assert hold.arrived.wait(HELD_S_MAX), f"no {hold.method} came"

    def release(self) -> None:
        """Let what is held go on."""
        assert self._held is not None
        self._held.released.set()

    def close(self) -> None:
        for hold in filter(None, (self._next, self._held)):
            hold.released.set()
        self._next = None
        self._server.shutdown()
        self._server.server_close()
        self._client.close()

    def _stop_at(self, method: str, where: str) -> None:
        hold = self._next
        if hold is not None and (hold.method, hold.where) == (method, where):
            self._next, self._held = None, hold
            hold.arrived.set()
            hold.released.wait(HELD_S_MAX)

    def pass_on(self, request: BaseHTTPRequestHandler) -> None:
        method, path = request.command, request.path
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        self.seen.append((method, path))
        if self.is_shut:
            request.close_connection = True
            return
        self._stop_at(method, "before")
        if method in self.refused:
            with contextlib.suppress(OSError):
                _answer(request, httpx.Response(httpx.codes.FORBIDDEN))
            return
        try:
            answer = self._client.request(
                method, self._target + path, headers=dict(request.headers), content=body
            )
        except httpx.HTTPError:
            request.close_connection = True
            return
        self._stop_at(method, "behind")
        with contextlib.suppress(OSError):
            _answer(request, answer)


def _answer(request: BaseHTTPRequestHandler, answer: httpx.Response) -> None:
    method = request.command
    request.send_response(answer.status_code)
    for name, value in answer.headers.items():
        if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
            request.send_header(name, value)
    length = answer.headers.get("Content-Length") if method == "HEAD" else len(answer.content)
    request.send_header("Content-Length", str(length or 0))
    request.end_headers()
    if method != "HEAD":
        request.wfile.write(answer.content)
