"""A cluster of real node processes on this machine: for tests, benchmarks and first steps."""

import contextlib
import datetime as dt
import os
import secrets
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx

from dataplane.client.keys import SCOPES, new_api_key
from dataplane.client.provisioning import (
    NodeMaterial,
    create_authority,
    create_node_material,
    write_node_files,
)
from dataplane.client.spec import GenesisSpec, KeySpec, MemberSpec, NodeSpec, TlsSpec, UsageSpec

HOST = "127.0.0.1"
# Beside those of the portal's clusters, and below the range of outgoing connections.
PORTS = range(10_000, 20_000)


def free_ports(count: int) -> list[int]:
    """Return distinct loopback ports that nobody uses at the moment.

    They lie where systems hand out none by themselves: a passing connection, of anybody, must not
    be able to take the port of a node that is down, which then could not start again.
    """
    ports: list[int] = []
    with contextlib.ExitStack() as stack:
        for _ in range(len(PORTS)):
            if len(ports) == count:
                return ports
            probe = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind((HOST, secrets.choice(PORTS)))
                ports.append(int(probe.getsockname()[1]))
    raise OSError(f"there are no {count} free ports on {HOST}")


class LocalCluster:
    """Node processes under one directory, with one key that may do everything."""

    def __init__(
        self,
        directory: Path,
        count: int,
        *,
        usage: UsageSpec | None = None,
        calls_limit: int | None = None,
        storage_limit_bytes: int | None = None,
        usage_window_ms: int = 60_000,
    ) -> None:
        self.directory = directory
        self.cluster_id = secrets.token_hex(16)
        key = new_api_key()
        self.api_key = key.token
        genesis = GenesisSpec(
            (KeySpec(key.id, "root", key.hash, SCOPES),),
            calls_limit,
            storage_limit_bytes,
            usage_window_ms,
        )
        now = dt.datetime.now(dt.UTC)  # noqa: TID251 - certificates carry wall time
        authority = create_authority(self.cluster_id, now)
        material = [
            create_node_material(authority, self.cluster_id, index, HOST, now)
            for index in range(count)
        ]
        self.members = _members(material, free_ports(2 * count))
        self.specs: list[Path] = []
        for index, mine in enumerate(material):
            home = directory / f"node-{index}"
            spec = self._spec(index, home, genesis, usage)
            self.specs.append(write_node_files(home, spec, authority, mine))
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def _spec(
        self, index: int, home: Path, genesis: GenesisSpec, usage: UsageSpec | None
    ) -> NodeSpec:
        return NodeSpec(
            cluster_id=self.cluster_id,
            cluster_name="local",
            organization="local",
            node_id=index,
            members=self.members,
            data_dir=str(home / "data"),
            signing_key_file=str(home / "signing.key"),
            gateway_key_file=str(home / "gateway.key"),
            tls=TlsSpec(str(home / "ca.pem"), str(home / "node.pem"), str(home / "node.key")),
            genesis=genesis,
            usage=usage,
        )

    @property
    def urls(self) -> list[str]:
        """Where each node's gateway is."""
        return [member.url for member in self.members]

    @property
    def pids(self) -> list[int]:
        """The ids of the running processes."""
        return [process.pid for process in self.processes.values()]

    def start(self, *indexes: int) -> None:
        """Start the given nodes, or all."""
        for index in indexes or range(len(self.members)):
            log_path = self.directory / f"node-{index}.log"
            with log_path.open("ab") as log_file:
                self.processes[index] = subprocess.Popen(  # noqa: S603 - our own interpreter
                    [sys.executable, "-m", "dataplane.node", "--spec", str(self.specs[index])],
                    stdout=log_file,
                    stderr=log_file,
                    cwd=Path(__file__).resolve().parents[2],
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                )

    def kill(self, *indexes: int) -> None:
        """Kill the given nodes, or all, at once and without warning."""
        chosen = indexes or tuple(self.processes)
        for index in chosen:
            self.processes[index].send_signal(signal.SIGKILL)
        for index in chosen:
            self.processes.pop(index).wait()

    def stop(self) -> list[int]:
        """Ask every node to stop; return the exit codes."""
        for process in self.processes.values():
            process.terminate()
        codes = [process.wait(timeout=20) for process in self.processes.values()]
        self.processes.clear()
        return codes

    def is_ready(self, index: int) -> bool:
        """Whether the node says it can serve."""
        try:
            return httpx.get(f"{self.urls[index]}/ready", timeout=2, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def log(self, index: int) -> str:
        """Return what the node wrote to its log."""
        return (self.directory / f"node-{index}.log").read_text(errors="replace")


def _members(material: list[NodeMaterial], ports: list[int]) -> tuple[MemberSpec, ...]:
    return tuple(
        MemberSpec(
            index,
            HOST,
            ports[2 * index],
            ports[2 * index + 1],
            mine.public_key,
            mine.gateway_public_key,
        )
        for index, mine in enumerate(material)
    )
