"""Nodes as processes of this machine, run by the supervisor that `manage.py up` starts."""

import fcntl
import json
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, override
from zlib import crc32

import msgspec
from django.conf import settings

from dataplane.client.errors import SpecError
from dataplane.client.provisioning import write_node_files, write_private
from dataplane.client.spec import (
    ArchiveSpec,
    EncryptionSpec,
    NodeSpec,
    ServerTlsSpec,
    TlsSpec,
    UsageSpec,
    load_spec,
)
from portal.clusters.constants import LOG_BYTES_MAX
from portal.clusters.ports import (
    Address,
    Archive,
    Blueprint,
    Driver,
    DriverError,
    Encryption,
    Placed,
)
from portal.core.supervision import SupervisorClient, SupervisorError

HOST: Final = "127.0.0.1"
# Below the range that systems hand out by themselves, so that no passing connection takes a
# port while its node is down.
PORTS: Final = range(20_000, 32_000)
PORTS_PER_NODE: Final = 3
"""For its peers, for HTTP and for gRPC."""
PROGRAM: Final = "dataplane.node"
BROKEN_PROGRAM: Final = "dataplane.simulation.byzantine.node"
CODE_DIRECTORY: Final = Path(__file__).resolve().parents[3]


class ProcessDriver(Driver):
    """Keeps every node's files below `clusters/<id>/node-<index>/` of the installation."""

    def __init__(
        self, home: Path | None = None, supervisor: SupervisorClient | None = None
    ) -> None:
        self._home = home or Path(settings.AEROLITH_HOME)
        self._supervisor = supervisor or SupervisorClient(self._home)

    @override
    def reserve(self, cluster: str, indexes: Sequence[int]) -> Mapping[int, Address]:
        with self._reservations() as taken:
            known = taken.setdefault(cluster, {})
            new = [index for index in indexes if str(index) not in known]
            used = {port for nodes in taken.values() for ports in nodes.values() for port in ports}
            ports = _free_ports(PORTS_PER_NODE * len(new), used, crc32(cluster.encode()))
            for place, index in enumerate(new):
                first = PORTS_PER_NODE * place
                known[str(index)] = ports[first : first + PORTS_PER_NODE]
        return {index: Address(HOST, *known[str(index)]) for index in indexes}

    @override
    def place(self, blueprint: Blueprint) -> None:
        home = self._node(blueprint.cluster, blueprint.index)
        home.mkdir(parents=True, exist_ok=True)
        token_file = home / "usage.token"
        token_file.touch(mode=0o600)
        token_file.write_text(blueprint.usage_token)
        spec = NodeSpec(
            cluster_id=blueprint.cluster_id,
            cluster_name=blueprint.cluster_name,
            organization=blueprint.organization,
            node_id=blueprint.index,
            members=blueprint.members,
            epoch=blueprint.epoch,
            base=blueprint.base,
            learner=blueprint.learner,
            data_dir=str(home / "data"),
            signing_key_file=str(home / "signing.key"),
            gateway_key_file=str(home / "gateway.key"),
            tls=_tls(home),
            genesis=blueprint.genesis,
            usage=UsageSpec(blueprint.usage_url, str(token_file)),
            profile=blueprint.profile,
            grpc_port=blueprint.grpc_port,
            grpc_tls=_grpc_tls(home, blueprint),
            encryption=_encryption(home, blueprint.encryption),
            archive=_archive(home, blueprint.archive),
        )
        write_node_files(home, spec, blueprint.authority, blueprint.material)

    @override
    def start(self, cluster: str, index: int) -> None:
        self._run(cluster, index, [PROGRAM], {})

    @override
    def start_broken(self, cluster: str, index: int, behaviour: str, until: datetime) -> None:
        until_ms = str(round(until.timestamp() * 1000))
        program = [BROKEN_PROGRAM, "--behaviour", behaviour, "--until-ms", until_ms]
        if self._placed_spec(cluster, index).profile != "development":
            raise DriverError(f"node {index} is one of production: it is never made to lie")
        self._run(cluster, index, program, {"behaviour": behaviour})

    def _placed_spec(self, cluster: str, index: int) -> NodeSpec:
        try:
            return load_spec(self._node(cluster, index) / "spec.json")
        except SpecError as error:
            raise DriverError(f"node {index} is not placed: {error}") from error

    def _run(self, cluster: str, index: int, program: list[str], labels: Mapping[str, str]) -> None:
        self._placed_spec(cluster, index)
        home = self._node(cluster, index)
        self._call(
            lambda: self._supervisor.start_unit(
                _unit(cluster, index),
                [sys.executable, "-m", *program, "--spec", str(home / "spec.json")],
                cwd=CODE_DIRECTORY,
                env={"PYTHONUNBUFFERED": "1"},
                log_path=home / "node.log",
                labels={"cluster": cluster, "node": str(index), **labels},
            )
        )

    @override
    def stop(self, cluster: str, index: int) -> None:
        if index in self.observe(cluster):
            self._call(lambda: self._supervisor.stop_unit(_unit(cluster, index)))

    @override
    def crash(self, cluster: str, index: int) -> None:
        if index in self.observe(cluster):
            self._call(lambda: self._supervisor.stop_unit(_unit(cluster, index), at_once=True))

    @override
    def restart(self, cluster: str, index: int) -> None:
        if index not in self.observe(cluster):
            self.start(cluster, index)
            return
        self._call(lambda: self._supervisor.restart_unit(_unit(cluster, index)))

    @override
    def remove(self, cluster: str, index: int) -> None:
        self._call(lambda: self._supervisor.remove_unit(_unit(cluster, index)))
        shutil.rmtree(self._node(cluster, index), ignore_errors=True)
        with self._reservations() as taken:
            taken.get(cluster, {}).pop(str(index), None)

    @override
    def release(self, cluster: str) -> None:
        with self._reservations() as taken:
            taken.pop(cluster, None)
        shutil.rmtree(self._clusters / cluster, ignore_errors=True)

    @override
    def observe(self, cluster: str) -> dict[int, Placed]:
        try:
            units = self._supervisor.units()
        except SupervisorError as error:
            raise DriverError(error.detail) from error
        return {
            int(unit.labels["node"]): Placed(
                int(unit.labels["node"]),
                unit.state,
                unit.pid,
                unit.restarts,
                unit.last_exit,
                unit.labels.get("behaviour", ""),
            )
            for unit in units
            if unit.labels.get("cluster") == cluster and unit.labels.get("node", "").isdigit()
        }

    @override
    def logs(self, cluster: str, index: int, *, lines: int) -> list[str]:
        path = self._node(cluster, index) / "node.log"
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - LOG_BYTES_MAX))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return []
        found = text.splitlines()
        return (found[1:] if size > LOG_BYTES_MAX else found)[-lines:]

    @property
    def _clusters(self) -> Path:
        return self._home / "clusters"

    def _node(self, cluster: str, index: int) -> Path:
        return self._clusters / cluster / f"node-{index}"

    def _call(self, call: object) -> None:
        assert callable(call)
        try:
            call()
        except SupervisorError as error:
            raise DriverError(f"the supervisor: {error.detail or error.code}") from error

    @contextmanager
    def _reservations(self) -> Iterator[dict[str, dict[str, list[int]]]]:
        """Hold the list of reserved ports, which all workers of this machine share."""
        self._clusters.mkdir(parents=True, exist_ok=True)
        path = self._clusters / "ports.json"
        with (self._clusters / "ports.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            stored: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
            taken = {cluster: _by_node(ports) for cluster, ports in stored.items()}
            yield taken
            draft = path.with_suffix(".tmp")
            draft.write_text(json.dumps(taken))
            draft.replace(path)


def _encryption(home: Path, encryption: Encryption | None) -> EncryptionSpec | None:
    """Write the wrapped key beside the specification, and return what that says of it."""
    if encryption is None:
        return None
    path = home / "cluster.key"
    write_private(path, encryption.wrapped_key)
    return EncryptionSpec(str(path), encryption.provider, encryption.algorithm)


def _tls(home: Path) -> TlsSpec:
    return TlsSpec(str(home / "ca.pem"), str(home / "node.pem"), str(home / "node.key"))


def _grpc_tls(home: Path, blueprint: Blueprint) -> ServerTlsSpec | None:
    """Have the node prove itself to clients of gRPC with the certificate that its peers know."""
    links = _tls(home)
    return None if blueprint.grpc_port is None else ServerTlsSpec(links.cert_file, links.key_file)


def _archive(home: Path, archive: Archive | None) -> ArchiveSpec | None:
    """Write the credentials beside the specification, and return what that says of them."""
    path = home / "archive.json"
    if archive is None or archive.credentials is None:
        path.unlink(missing_ok=True)
        return None if archive is None else archive.spec
    write_private(path, archive.credentials)
    return msgspec.structs.replace(archive.spec, credentials_file=str(path))


def _unit(cluster: str, index: int) -> str:
    return f"node-{cluster}-{index}"


def _by_node(ports: dict[str, list[int]] | list[int]) -> dict[str, list[int]]:
    """Read what an installation wrote that could not change a cluster's nodes yet: a list."""
    if isinstance(ports, dict):
        return ports
    return {str(index): ports[2 * index : 2 * index + 2] for index in range(len(ports) // 2)}


def _free_ports(count: int, used: set[int], seed: int) -> list[int]:
    """Probe from a place of the cluster's own, so that two installations seldom meet."""
    found: list[int] = []
    for step in range(len(PORTS)):
        if len(found) == count:
            return found
        port = PORTS[(seed + step) % len(PORTS)]
        if port not in used and _is_free(port):
            found.append(port)
    raise DriverError("this machine has no free ports left")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def driver() -> Driver:
    """Return the driver of this installation."""
    return ProcessDriver()
