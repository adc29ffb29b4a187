"""What one installation remembers in AEROLITH_HOME: ports, passwords, accounts."""

import json
import os
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from portal.commands.embedded import PostgresConfig, ValkeyConfig
from portal.commands.ports import free_ports, port_is_free

DEFAULT_PORT = 8000


@dataclass(frozen=True, slots=True)
class State:
    """The content of `state.json`, readable by its owner only.

    `database_url` and `valkey_url` are what the settings need; the rest is how they come about.
    """

    portal_port: int
    postgres_port: int
    valkey_port: int
    supervisor_port: int
    postgres_superuser_password: str
    postgres_password: str
    valkey_password: str
    operator_email: str
    operator_password: str
    demo_email: str
    demo_password: str
    database_url: str
    valkey_url: str


@dataclass(frozen=True, slots=True)
class Installation:
    """The folder of one installation, with the places in it."""

    home: Path

    @property
    def state_file(self) -> Path:
        """Ports, passwords and URLs, mode 0600."""
        return self.home / "state.json"

    @property
    def run(self) -> Path:
        """Pid files and the supervisor's endpoint."""
        return self.home / "run"

    @property
    def logs(self) -> Path:
        """One log a process, rotated."""
        return self.home / "logs"

    @property
    def units(self) -> Path:
        """Definitions of units that the supervisor starts again."""
        return self.home / "units"

    @property
    def supervisor_pid_file(self) -> Path:
        """Whose supervisor owns this home."""
        return self.run / "supervisor.pid"

    def prepare(self) -> None:
        """Make the folders; as root, others may pass through but not list."""
        mode = 0o711 if os.geteuid() == 0 else 0o700
        for folder in (self.home, self.run, self.logs, self.units):
            folder.mkdir(parents=True, exist_ok=True, mode=mode)

    def read(self) -> State | None:
        """Return what is remembered, or None before the first start."""
        try:
            return State(**json.loads(self.state_file.read_text()))
        except FileNotFoundError:
            return None

    def write(self, state: State) -> None:
        """Remember; the file appears whole and is never readable by others."""
        write_secret(self.state_file, json.dumps(asdict(state), indent=2))

    def postgres(self, state: State) -> PostgresConfig:
        """Describe the embedded Postgres."""
        return PostgresConfig(
            data=self.home / "postgres",
            port=state.postgres_port,
            superuser_password=state.postgres_superuser_password,
            user="aerolith",
            password=state.postgres_password,
            database="aerolith",
        )

    def valkey(self, state: State) -> ValkeyConfig:
        """Describe the embedded Valkey."""
        return ValkeyConfig(
            data=self.home / "valkey", port=state.valkey_port, password=state.valkey_password
        )


def write_secret(path: Path, content: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    staging = path.with_name(path.name + ".new")
    staging.unlink(missing_ok=True)
    staging.touch(mode=0o600)
    staging.write_text(content)
    staging.replace(path)


def external_database_url() -> str:
    """Return the URL of somebody else's Postgres, empty when it is embedded."""
    return _text_or_file("DATABASE_URL")


def external_valkey_url() -> str:
    """Return the URL of somebody else's Valkey or Redis, empty when it is embedded."""
    return _text_or_file("VALKEY_URL")


def _text_or_file(name: str) -> str:
    """Read a variable in the way the settings do."""
    if (path := os.environ.get(f"{name}_FILE")) is not None:
        return Path(path).read_text().strip()
    return os.environ.get(name, "").strip()


def wanted_portal_port() -> int | None:
    """Return AEROLITH_PORT if it is set.

    Raises:
        ValueError: It is no port.
    """
    text = os.environ.get("AEROLITH_PORT", "").strip()
    if not text:
        return None
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise ValueError(f"AEROLITH_PORT is not a port: {text!r}")
    return int(text)


def state_ensure(installation: Installation, *, tell: Callable[[str], None]) -> State:
    """Return the state for the start at hand: new ports where remembered ones are taken."""
    installation.prepare()
    state = installation.read() or _new_state()
    wanted = wanted_portal_port()
    if wanted is not None:
        state = replace(state, portal_port=wanted)
    state = _with_free_ports(state, tell=tell, portal_is_fixed=wanted is not None)
    state = replace(
        state,
        database_url=external_database_url() or installation.postgres(state).url,
        valkey_url=external_valkey_url() or installation.valkey(state).url,
    )
    installation.write(state)
    return state


def _new_state() -> State:
    postgres_port, valkey_port, supervisor_port = free_ports(3)
    return State(
        portal_port=DEFAULT_PORT,
        postgres_port=postgres_port,
        valkey_port=valkey_port,
        supervisor_port=supervisor_port,
        postgres_superuser_password=secrets.token_urlsafe(24),
        postgres_password=secrets.token_urlsafe(24),
        valkey_password=secrets.token_urlsafe(24),
        operator_email="operator@aerolith.example",
        operator_password=secrets.token_urlsafe(12),
        demo_email="demo@aerolith.example",
        demo_password=secrets.token_urlsafe(12),
        database_url="",
        valkey_url="",
    )


def _with_free_ports(state: State, *, tell: Callable[[str], None], portal_is_fixed: bool) -> State:
    ports = {
        "portal_port": state.portal_port,
        "postgres_port": state.postgres_port,
        "valkey_port": state.valkey_port,
        "supervisor_port": state.supervisor_port,
    }
    for name, port in ports.items():
        if port_is_free(port):
            continue
        if name == "portal_port" and portal_is_fixed:
            raise OSError(f"port {port} (AEROLITH_PORT) is taken by another program")
        (ports[name],) = free_ports(1)
        tell(f"port {port} is taken by another program; {name} is {ports[name]} from now on")
    return replace(
        state,
        portal_port=ports["portal_port"],
        postgres_port=ports["postgres_port"],
        valkey_port=ports["valkey_port"],
        supervisor_port=ports["supervisor_port"],
    )
