"""Client of the process supervisor that `manage.py up` runs, and the home of its state."""

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

REPLY_SIZE_MAX = 4 * 1024 * 1024
CALL_TIMEOUT_S = 30.0

type Json = bool | int | float | str | list[Json] | dict[str, Json] | None


def aerolith_home() -> Path:
    """Return the folder that holds all state (AEROLITH_HOME, else `.aerolith` in the checkout)."""
    configured = os.environ.get("AEROLITH_HOME", "").strip()
    if configured:
        return Path(configured).expanduser().absolute()
    return Path(__file__).resolve().parents[2] / ".aerolith"


class SupervisorError(Exception):
    """The supervisor refused a call, or cannot be reached (`unreachable`)."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class UnitStatus:
    """What the supervisor knows of one supervised process.

    `state` is one of starting, running, backoff, failed (crash loop: tried again once a minute),
    stopping, stopped.
    """

    name: str
    pid: int | None
    state: str
    restarts: int
    labels: Mapping[str, str] = field(default_factory=dict)
    last_exit: int | None = None


class SupervisorClient:
    """Synchronous calls over loopback TCP; every call opens and closes its own connection."""

    def __init__(self, home: Path | None = None) -> None:
        self._endpoint = (home or aerolith_home()) / "run" / "supervisor.json"

    def start_unit(
        self,
        name: str,
        argv: Sequence[str],
        *,
        cwd: str | Path,
        env: Mapping[str, str],
        log_path: str | Path,
        labels: Mapping[str, str],
    ) -> UnitStatus:
        """Place and start a process; the same definition twice changes nothing.

        A unit of that name with another definition is stopped and started anew. `env` is added
        to the supervisor's own environment. The unit outlives the supervisor: the next `up`
        starts it again.

        Raises:
            SupervisorError: The definition is refused or the supervisor is unreachable.
        """
        reply = self._call(
            "start",
            {
                "name": name,
                "argv": list(argv),
                "cwd": str(cwd),
                "env": dict(env),
                "log_path": str(log_path),
                "labels": dict(labels),
            },
        )
        return _unit_status(reply)

    def stop_unit(self, name: str, *, at_once: bool = False) -> None:
        """Stop a unit's process and keep its definition; unknown names are refused.

        With `at_once` it is killed without a chance to put anything in order.
        """
        self._call("stop", {"name": name, "at_once": at_once})

    def remove_unit(self, name: str) -> None:
        """Stop a unit and forget it; a name that is not there is already removed."""
        self._call("remove", {"name": name})

    def restart_unit(self, name: str) -> UnitStatus:
        """Stop and start a unit, also one that is stopped or has given up."""
        return _unit_status(self._call("restart", {"name": name}))

    def units(self) -> list[UnitStatus]:
        """List every unit and every service child of the supervisor."""
        reply = self._call("units", {})
        if not isinstance(reply, list):
            raise SupervisorError("protocol", "the list of units is not a list")
        return [_unit_status(item) for item in reply]

    def shut_down(self) -> None:
        """Ask the supervisor to end everything in order; returns when it has begun."""
        self._call("shutdown", {})

    def _call(self, command: str, arguments: dict[str, Json]) -> Json:
        try:
            endpoint = json.loads(self._endpoint.read_text())
            port, token = int(endpoint["port"]), str(endpoint["token"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SupervisorError("unreachable", f"no supervisor at {self._endpoint}") from error
        request = {"token": token, "command": command, "arguments": arguments}
        try:
            raw = _exchange(port, json.dumps(request).encode() + b"\n")
            reply = json.loads(raw)
        except (OSError, ValueError) as error:
            raise SupervisorError("unreachable", str(error)) from error
        if not isinstance(reply, dict):
            raise SupervisorError("protocol", "the reply is not an object")
        if reply.get("error") is not None:
            raise SupervisorError(str(reply["error"]), str(reply.get("detail", "")))
        result: Json = reply.get("result")
        return result


def _exchange(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=CALL_TIMEOUT_S) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        received = bytearray()
        while chunk := connection.recv(65536):
            received += chunk
            if len(received) > REPLY_SIZE_MAX:
                raise OSError("the supervisor's reply is too long")
        return bytes(received)


def _unit_status(value: Json) -> UnitStatus:
    if not isinstance(value, dict):
        raise SupervisorError("protocol", "a unit is not an object")
    labels = value.get("labels")
    pid, last_exit, restarts = value.get("pid"), value.get("last_exit"), value.get("restarts")
    return UnitStatus(
        name=str(value.get("name")),
        pid=pid if isinstance(pid, int) else None,
        state=str(value.get("state")),
        restarts=restarts if isinstance(restarts, int) else 0,
        labels={key: str(item) for key, item in labels.items()} if isinstance(labels, dict) else {},
        last_exit=last_exit if isinstance(last_exit, int) else None,
    )
