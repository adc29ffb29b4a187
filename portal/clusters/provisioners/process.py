"""Nodes as processes of this machine, kept alive by the supervisor of `manage.py up`."""

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Final, cast, override

from django.conf import settings

from dataplane.client.local import free_ports
from dataplane.client.provisioning import write_node_files, write_private
from dataplane.client.spec import NodeSpec, TlsSpec, UsageSpec
from portal.clusters.constants import LOG_TAIL_BYTES
from portal.clusters.errors import UnableToOperate
from portal.clusters.provisioners.ports import Driver, NodeState, Observed, Place, Placement
from portal.core.supervision import SupervisorClient, SupervisorError, aerolith_home

HOST: Final = "127.0.0.1"
_STATES: Final = {"starting", "running", "backoff", "failed", "stopped"}


def _supervised[**P, R](method: Callable[P, R]) -> Callable[P, R]:
    """Tell supervisor and disk failures in the words of an operation."""

    @wraps(method)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except SupervisorError as error:
            raise UnableToOperate(
                "supervisor_unavailable",
                f"The process supervisor does not take the order: {error.detail}",
                next_action="Check that the supervisor runs (manage.py status), then retry.",
            ) from error
        except OSError as error:
            raise UnableToOperate(
                "disk",
                f"The node's files cannot be written: {error.strerror}",
                next_action="Free some space or mend the permissions, then retry.",
            ) from error

    return run


class ProcessDriver(Driver):
    """Node processes under AEROLITH_HOME/clusters/<cluster>/node-<index>/."""

    def __init__(self, home: Path | None = None) -> None:
        self._home = home or aerolith_home()
        self._supervisor = SupervisorClient(self._home)

    def _directory(self, cluster_id: str, index: int) -> Path:
        return self._home / "clusters" / cluster_id / f"node-{index}"

    @staticmethod
    def _unit(cluster_id: str, index: int) -> str:
        return f"node-{cluster_id[:16]}-{index}"

    @contextmanager
    def _ports(self) -> Iterator[dict[str, list[int]]]:
        """Hold the book of ports; changes are written when the block ends."""
        path = self._home / "clusters" / "ports.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / "ports.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            book = json.loads(path.read_bytes()) if path.exists() else {}
            yield book
            write_private(path, json.dumps(book).encode())

    @override
    @_supervised
    def reserve(self, cluster_id: str, index: int) -> Place:
        unit = self._unit(cluster_id, index)
        with self._ports() as book:
            if unit not in book:
                taken = {port for ports in book.values() for port in ports}
                fresh = [port for port in free_ports(2 * len(taken) + 8) if port not in taken]
                book[unit] = fresh[:2]
            peer_port, http_port = book[unit]
        return Place(HOST, peer_port, http_port)

    @override
    @_supervised
    def place(self, placement: Placement) -> None:
        home = self._directory(placement.cluster_id, placement.index)
        token_file = home / "usage.token"
        spec = NodeSpec(
            cluster_id=placement.cluster_id,
            cluster_name=placement.cluster_name,
            organization=placement.organization,
            node_id=placement.index,
            members=placement.members,
            data_dir=str(home / "data"),
            signing_key_file=str(home / "signing.key"),
            gateway_key_file=str(home / "gateway.key"),
            tls=TlsSpec(str(home / "ca.pem"), str(home / "node.pem"), str(home / "node.key")),
            genesis=placement.genesis,
            usage=UsageSpec(placement.usage_url, str(token_file)),
        )
        write_private(token_file, placement.usage_token.encode())
        write_node_files(home, spec, placement.authority, placement.material)

    @override
    @_supervised
    def start(self, cluster_id: str, index: int) -> None:
        home = self._directory(cluster_id, index)
        self._supervisor.start_unit(
            self._unit(cluster_id, index),
            [sys.executable, "-m", "dataplane.node", "--spec", str(home / "spec.json")],
            cwd=settings.BASE_DIR,
            env={},
            log_path=home / "node.log",
            labels={"cluster": cluster_id, "node": str(index)},
        )

    @override
    @_supervised
    def stop(self, cluster_id: str, index: int) -> None:
        if index in self.observe(cluster_id):
            self._supervisor.stop_unit(self._unit(cluster_id, index))

    @override
    @_supervised
    def restart(self, cluster_id: str, index: int) -> None:
        self._supervisor.restart_unit(self._unit(cluster_id, index))

    @override
    @_supervised
    def remove(self, cluster_id: str, index: int) -> None:
        unit = self._unit(cluster_id, index)
        self._supervisor.remove_unit(unit)
        shutil.rmtree(self._directory(cluster_id, index), ignore_errors=True)
        with self._ports() as book:
            book.pop(unit, None)
        cluster_home = self._directory(cluster_id, index).parent
        if cluster_home.exists() and not any(cluster_home.iterdir()):
            cluster_home.rmdir()

    @override
    @_supervised
    def observe(self, cluster_id: str) -> dict[int, Observed]:
        seen: dict[int, Observed] = {}
        for unit in self._supervisor.units():
            if unit.labels.get("cluster") != cluster_id:
                continue
            state = unit.state if unit.state in _STATES else "stopped"
            seen[int(unit.labels["node"])] = Observed(
                cast("NodeState", state), unit.restarts, unit.last_exit
            )
        return seen

    @override
    @_supervised
    def log_tail(self, cluster_id: str, index: int) -> str:
        path = self._directory(cluster_id, index) / "node.log"
        if not path.exists():
            return ""
        with path.open("rb") as log_file:
            log_file.seek(0, os.SEEK_END)
            log_file.seek(max(0, log_file.tell() - LOG_TAIL_BYTES))
            return log_file.read().decode(errors="replace")


def driver_for(region: str) -> Driver:
    """Return the driver of a region."""
    assert region
    return ProcessDriver()
