"""The whole portal on one machine: which processes, in which order, with which environment."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import SubprocessError

import psycopg

from portal.commands.embedded import (
    EmbeddedServiceError,
    postgres_launch,
    postgres_prepare,
    postgres_prepare_login,
    valkey_launch,
)
from portal.commands.external import ExternalServiceError, database_ready, valkey_ready
from portal.commands.fingerprint import code_fingerprint
from portal.commands.launching import Launch, child_setup
from portal.commands.progress import Progress
from portal.commands.state import (
    Installation,
    State,
    external_database_url,
    external_valkey_url,
    state_ensure,
)
from portal.commands.summary import answers_ready, demo_urls
from portal.commands.supervisor import Supervisor, leftovers_end
from portal.commands.units import Definition

ROOT = Path(__file__).resolve().parents[2]
READY_TIMEOUT_S = 90.0
JOB_TIMEOUT_S = 600.0
JOB_STOP_TIMEOUT_S = 5.0
LOGIN_ATTEMPTS_COUNT_MAX = 200
LOGIN_PAUSE_S = 0.05
LINE_LENGTH_MAX = 300
DEMO_TIMEOUT_S = 10.0
DEMO_POLL_S = 0.1
RANK_UNITS, RANK_WEB, RANK_WORKERS, RANK_VALKEY, RANK_POSTGRES = 0, 1, 2, 3, 4
# The settings take these as NAME or NAME_FILE; nodes and other units must not see them.
PRIVATE_VARIABLES = ("DATABASE_URL", "VALKEY_URL", "SECRET_KEY", "SEAL_KEY", "EMAIL_URL")


class StartError(Exception):
    """The portal cannot be started; the text says what to do."""


# What ends a start with its text; anything else is a fault of ours and leaves a traceback.
EXPECTED_ERRORS = (
    StartError,
    ExternalServiceError,
    OSError,
    SubprocessError,
    psycopg.Error,
    TimeoutError,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What this start is to bring up."""

    installation: Installation
    state: State
    has_demo: bool

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the portal's own processes."""
        return {
            "DJANGO_SETTINGS_MODULE": "portal.config.settings.embedded",
            **os.environ,
            "AEROLITH_HOME": str(self.installation.home),
            "AEROLITH_PORT": str(self.state.portal_port),
            "DATABASE_URL": self.state.database_url,
            "VALKEY_URL": self.state.valkey_url,
            "PYTHONUNBUFFERED": "1",
        }

    @property
    def unit_environment(self) -> dict[str, str]:
        """The environment of units: without the portal's secrets."""
        private = {name + suffix for name in PRIVATE_VARIABLES for suffix in ("", "_FILE")}
        return {key: value for key, value in os.environ.items() if key not in private}

    def service(
        self, name: str, argv: list[str], *, rank: int, ready_port: int | None = None
    ) -> Definition:
        """Describe one of the portal's own Python processes."""
        return Definition(
            name=name,
            launch=Launch(argv=(sys.executable, *argv), cwd=ROOT, env=self.environment),
            log_path=self.installation.logs / f"{name}.log",
            ready_port=ready_port,
            stop_rank=rank,
        )


def portal_definitions(plan: Plan) -> list[Definition]:
    """Return the portal's processes, web first."""
    address = os.environ.get("AEROLITH_BIND", "127.0.0.1")
    port = plan.state.portal_port
    celery = ["-m", "celery", "-A", "celery_app"]
    schedule = str(plan.installation.run / "beat-schedule")
    web = ["-m", "daphne", "-b", address, "-p", str(port), "--no-server-name"]
    # Threads: operations wait for nodes most of their time, and one process ends as a whole.
    worker = [*celery, "worker", "--pool", "threads", "--concurrency", "8", "--loglevel", "WARNING"]
    worker += ["--without-mingle", "--without-gossip"]
    beat = [*celery, "beat", "--schedule", schedule, "--pidfile=", "--loglevel", "WARNING"]
    return [
        plan.service(
            "web", [*web, "portal.config.asgi:application"], rank=RANK_WEB, ready_port=port
        ),
        plan.service("worker", worker, rank=RANK_WORKERS),
        plan.service("beat", beat, rank=RANK_WORKERS),
        plan.service("collector", ["manage.py", "collector"], rank=RANK_WORKERS),
    ]


class Start:
    """One start of the portal, step by step; every step may be repeated."""

    def __init__(self, plan: Plan, supervisor: Supervisor, progress: Progress) -> None:
        self._plan = plan
        self._supervisor = supervisor
        self._progress = progress
        self._is_prepared_anew = False
        self._database_is_empty = False

    async def run(self) -> None:
        """Bring everything up.

        Raises:
            StartError: Something does not come up; the text says what.
        """
        # Nodes need nothing of ours to serve their clients again.
        self._supervisor.units_start()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._valkey())
            await self._postgres()
        await self._prepare()
        children = [self._supervisor.keep(item) for item in portal_definitions(self._plan)]
        await self._ready(children[0].ready, "web")
        self._progress.portal_ready()
        if self._plan.has_demo:
            await self._demo()
        self._progress.all_ready()

    async def _demo(self) -> None:
        """Bring the demonstration up; without it the portal is as good as ever."""
        try:
            # After another database was named, what serves may belong to the one before.
            if self._is_prepared_anew or not await self._demo_is_back():
                await self._job("demo_seed", "the demonstration")
        except StartError as error:
            self._progress.demo_failed(str(error))
            return
        traffic = ["manage.py", "demo_traffic"]
        self._supervisor.keep(self._plan.service("demo-traffic", traffic, rank=RANK_UNITS))

    async def _demo_is_back(self) -> bool:
        """Tell whether a demonstration made earlier serves again."""
        urls = demo_urls(self._plan.installation.home)
        for _ in range(int(DEMO_TIMEOUT_S / DEMO_POLL_S) if urls else 0):
            if all([await asyncio.to_thread(answers_ready, url) for url in urls]):
                return True
            await asyncio.sleep(DEMO_POLL_S)
        return False

    async def _postgres(self) -> None:
        if url := external_database_url():
            facts = await database_ready(url, tell=self._progress.tell, warn=self._progress.warn)
            self._database_is_empty = facts.is_empty
            return
        config = self._plan.installation.postgres(self._plan.state)
        if not (config.data / "PG_VERSION").exists():
            self._progress.tell("preparing Postgres")
        try:
            await asyncio.to_thread(postgres_prepare, config)
        except EmbeddedServiceError as error:
            raise StartError(str(error)) from error
        stale_lock_remove(config.data)
        child = self._supervisor.keep(
            Definition(
                name="postgres",
                launch=postgres_launch(config),
                log_path=self._plan.installation.logs / "postgres.log",
                ready_port=config.port,
                stop_rank=RANK_POSTGRES,
            )
        )
        await self._ready(child.ready, "postgres")
        for attempt in range(LOGIN_ATTEMPTS_COUNT_MAX):
            try:
                await asyncio.to_thread(postgres_prepare_login, config)
            except psycopg.OperationalError as error:
                if attempt == LOGIN_ATTEMPTS_COUNT_MAX - 1:
                    raise StartError(f"Postgres refuses us: {error}") from error
                await asyncio.sleep(LOGIN_PAUSE_S)
            else:
                return

    async def _valkey(self) -> None:
        if url := external_valkey_url():
            await valkey_ready(url, tell=self._progress.tell, warn=self._progress.warn)
            return
        config = self._plan.installation.valkey(self._plan.state)
        child = self._supervisor.keep(
            Definition(
                name="valkey",
                launch=valkey_launch(config),
                log_path=self._plan.installation.logs / "valkey.log",
                ready_port=config.port,
                stop_rank=RANK_VALKEY,
            )
        )
        await self._ready(child.ready, "valkey")

    async def _prepare(self) -> None:
        """Migrate and make accounts, unless the same code did so on the same database."""
        marker = self._plan.installation.run / "prepared"
        fingerprint = code_fingerprint(ROOT, self._plan.state.database_url)
        with suppress(OSError):
            if marker.read_text() == fingerprint and not self._database_is_empty:
                return
        self._progress.tell("preparing the database")
        await self._job("portal_prepare", "the database")
        marker.write_text(fingerprint)
        self._is_prepared_anew = True

    async def _ready(self, ready: asyncio.Event, name: str) -> None:
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await ready.wait()
        except TimeoutError as error:
            log = self._plan.installation.logs / f"{name}.log"
            raise StartError(f"{name} is not ready; see {log}:\n{tail(log)}") from error

    async def _job(self, command: str, what: str) -> None:
        """Run one management command to its end."""
        log = self._plan.installation.logs / f"{command}.log"
        launch = Launch(
            argv=(sys.executable, "manage.py", command), cwd=ROOT, env=self._plan.environment
        )
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *launch.argv,
                cwd=launch.cwd,
                env=dict(launch.env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=child_setup(launch),
            )
        try:
            async with asyncio.timeout(JOB_TIMEOUT_S):
                code = await process.wait()
        finally:
            if process.returncode is None:
                await job_end(process)
        if code != 0:
            raise StartError(f"{what} could not be prepared; see {log}:\n{tail(log)}")


async def job_end(process: Process) -> None:
    """End a command and wait for it: it must not outlive the servers that it uses."""
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(JOB_STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def tail(path: Path, *, lines: int = 15) -> str:
    """Return the last lines of a log."""
    try:
        text = path.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return ""
    return "\n".join(line[:LINE_LENGTH_MAX] for line in text)


def stale_lock_remove(data: Path) -> None:
    """Remove a lock file of Postgres whose pid is somebody else's by now.

    After a restart of the machine the old number may belong to any program, and Postgres then
    refuses to start.
    """
    lock = data / "postmaster.pid"
    try:
        pid = int(lock.read_text().splitlines()[0])
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except FileNotFoundError:
        return
    except (OSError, ValueError, IndexError):
        return
    if str(data).encode() not in command:
        lock.unlink(missing_ok=True)


async def serve(installation: Installation, *, has_demo: bool, tell: Callable[[str], None]) -> int:
    """Run the portal until a signal or `down`; return the exit code."""
    installation.prepare()
    leftovers_end(installation.run / "children.json")
    progress = Progress(installation, tell)
    try:
        state = state_ensure(installation, tell=progress.tell)
    except (OSError, ValueError) as error:
        progress.fail(str(error))
        return 1
    progress.begin(state)
    plan = Plan(installation=installation, state=state, has_demo=has_demo)
    supervisor = Supervisor(installation, environment=plan.unit_environment)
    async with asyncio.TaskGroup() as group:
        await supervisor.open(group, control_port=state.supervisor_port)
        watching = group.create_task(supervisor.watch())
        starting = group.create_task(
            _start(Start(plan, supervisor, progress), supervisor, progress)
        )
        await supervisor.ending.wait()
        if progress.error is None:
            progress.tell("ending")
        starting.cancel()
        await asyncio.wait([starting])
        await supervisor.close()
        await watching
    progress.end()
    return 1 if progress.error is not None else 0


async def _start(start: Start, supervisor: Supervisor, progress: Progress) -> None:
    try:
        await start.run()
    except* EXPECTED_ERRORS as group:
        progress.fail("\n".join(str(error) or repr(error) for error in group.exceptions))
        supervisor.ending.set()


def main() -> int:
    """Serve the home of the environment; `up --detach` starts this in a session of its own."""
    options = json.loads(sys.argv[1])
    return asyncio.run(
        serve(Installation(Path(options["home"])), has_demo=bool(options["demo"]), tell=print)
    )


if __name__ == "__main__":
    sys.exit(main())
