"""A cluster of real node processes on this machine: for tests, benchmarks and first steps."""

import contextlib
import datetime as dt
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx
import msgspec

from dataplane.client.anchors import TrustAnchor
from dataplane.client.client import Client
from dataplane.client.key_providers import cluster_key_make
from dataplane.client.keys import SCOPES, new_api_key
from dataplane.client.membership import public_key_of, reconfigure
from dataplane.client.provisioning import (
    NodeMaterial,
    create_authority,
    create_node_material,
    write_node_files,
    write_private,
)
from dataplane.client.spec import (
    Algorithm,
    ArchiveSpec,
    EncryptionSpec,
    FileKeySpec,
    GenesisSpec,
    KeySpec,
    MemberSpec,
    NodeSpec,
    TlsSpec,
    UsageSpec,
    dump_spec,
    load_spec,
)

HOST = "127.0.0.1"
# Beside those of the portal's clusters, and below the range of outgoing connections.
PORTS = range(10_000, 18_000)


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
        liars: Mapping[int, str] | None = None,
        algorithm: Algorithm | None = None,
        grpc: bool = False,
        organization: str = "local",
        archive: ArchiveSpec | None = None,
    ) -> None:
        """Write the files of `count` nodes.

        `liars` names how some of them lie (index -> how). With an `algorithm` they encrypt what
        they write, under a key whose key is in a file of the directory. With `grpc` they also
        speak that.
        """
        self.directory = directory
        self.liars = dict(liars or {})
        self.cluster_id = secrets.token_hex(16)
        self.base = 0
        self._admin_seed = secrets.token_bytes(32)
        key = new_api_key()
        self.api_key = key.token
        genesis = GenesisSpec(
            (KeySpec(key.id, "root", key.hash, SCOPES),),
            calls_limit,
            storage_limit_bytes,
            usage_window_ms,
            admin_public_key=public_key_of(self._admin_seed),
        )
        self._usage = usage
        self._organization = organization
        self._archive = archive
        now = dt.datetime.now(dt.UTC)  # noqa: TID251 - certificates carry wall time
        self._authority = create_authority(self.cluster_id, now)
        ports = free_ports(3 * count if grpc else 2 * count)
        material = [
            create_node_material(self._authority, self.cluster_id, index, HOST, now)
            for index in range(count)
        ]
        self.members = _members(material, ports)
        self.nodes = list(self.members)
        """Every node there ever was, by its id."""
        self._genesis = msgspec.structs.replace(genesis, members=self.members)
        self.epoch = 0
        self.grpc_ports = ports[2 * count :]
        self.specs: list[Path] = []
        for index, mine in enumerate(material):
            self._write(index, mine, None, 0)
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        if algorithm is not None:
            self.encrypt(algorithm)

    def _write(self, index: int, mine: NodeMaterial, learner: MemberSpec | None, base: int) -> None:
        home = self.directory / f"node-{index}"
        spec = self._spec(index, home, learner, base)
        self.specs.append(write_node_files(home, spec, self._authority, mine))

    def encrypt(self, algorithm: Algorithm) -> None:
        """Say in every specification that the nodes encrypt; running ones are asked to, later."""
        provider = FileKeySpec(str(self.directory / "kek.key"))
        wrapped = cluster_key_make(provider, self.cluster_id)
        for path in self.specs:
            wrapped_path = path.parent / "cluster.key"
            write_private(wrapped_path, wrapped)
            encryption = EncryptionSpec(str(wrapped_path), provider, algorithm)
            spec = msgspec.structs.replace(load_spec(path), encryption=encryption)
            write_private(path, dump_spec(spec))

    def add_learner(self) -> int:
        """Start a node that learns from the members; return its id."""
        index = len(self.nodes)
        now = dt.datetime.now(dt.UTC)  # noqa: TID251 - certificates carry wall time
        mine = create_node_material(self._authority, self.cluster_id, index, HOST, now)
        peer_port, http_port = free_ports(2)
        keys = (mine.public_key, mine.gateway_public_key)
        learner = MemberSpec(index, HOST, peer_port, http_port, *keys)
        self._write(index, mine, learner, self.base)
        self.nodes.append(learner)
        self.start(index)
        return index

    def reconfigure(self, *ids: int, timeout_s: float = 30.0) -> None:
        """Make these nodes the members of the next epoch."""
        wanted = [self.nodes[index] for index in ids]
        call = reconfigure(
            self.cluster_id, epoch=self.epoch + 1, members=wanted, seed=self._admin_seed
        )
        with Client(self.urls, self.api_key, timeout_s=timeout_s) as client:
            self.base = int(client.run(call)["ends_at"])
        self.epoch += 1
        self.members = tuple(wanted)

    def _spec(self, index: int, home: Path, learner: MemberSpec | None, base: int) -> NodeSpec:
        return NodeSpec(
            cluster_id=self.cluster_id,
            cluster_name="local",
            organization=self._organization,
            node_id=index,
            members=self.members,
            data_dir=str(home / "data"),
            signing_key_file=str(home / "signing.key"),
            gateway_key_file=str(home / "gateway.key"),
            tls=TlsSpec(str(home / "ca.pem"), str(home / "node.pem"), str(home / "node.key")),
            genesis=self._genesis,
            usage=self._usage,
            epoch=self.epoch,
            base=base,
            learner=learner,
            archive=self._archive,
            grpc_port=self.grpc_ports[index] if index < len(self.grpc_ports) else None,
        )

    @property
    def urls(self) -> list[str]:
        """Where each member's gateway is."""
        return [member.url for member in self.members]

    @property
    def anchor(self) -> TrustAnchor:
        """Whose signatures prove what the cluster holds."""
        keys = [(member.id, member.public_key) for member in self.members]
        return TrustAnchor.of_keys(self.cluster_id, self.epoch, keys)

    @property
    def pids(self) -> list[int]:
        """The ids of the running processes."""
        return [process.pid for process in self.processes.values()]

    def start(self, *indexes: int) -> None:
        """Start the given nodes, or all."""
        for index in indexes or range(len(self.nodes)):
            log_path = self.directory / f"node-{index}.log"
            with log_path.open("ab") as log_file:
                self.processes[index] = subprocess.Popen(  # noqa: S603 - our own interpreter
                    [sys.executable, *self._program(index), "--spec", str(self.specs[index])],
                    stdout=log_file,
                    stderr=log_file,
                    cwd=Path(__file__).resolve().parents[2],
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                )

    def _program(self, index: int) -> list[str]:
        if index not in self.liars:
            return ["-m", "dataplane.node"]
        return ["-m", "dataplane.simulation.byzantine.node", "--behaviour", self.liars[index]]

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
            return httpx.get(
                f"{self.nodes[index].url}/ready", timeout=2, trust_env=False
            ).is_success
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
