"""The process supervisor: servers of the portal and units of drivers, in one long-lived process.

Theory of operation: one `Child` a process keeps it running. Services come from the plan of the
start; units come through the control port and are remembered in a folder. On Linux the kernel
ends every child when the supervisor dies, however it dies; elsewhere the next start ends what
the last one left, told apart by pid and start time.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from portal.commands.child import Child
from portal.commands.control import ControlServer
from portal.commands.ports import free_ports
from portal.commands.processes import (
    ProcessIdentity,
    end,
    identify,
    is_alive,
    pid_file_read,
    pid_file_write,
)
from portal.commands.state import Installation
from portal.commands.units import (
    UNITS_COUNT_MAX,
    Definition,
    EndingError,
    Unit,
    UnitFolder,
    UnitRefusedError,
    parse_name,
)
from portal.core.supervision import Json

LOG_SIZE_MAX = 10 * 1024 * 1024
LOGS_COUNT_MAX = 3
ROTATE_EVERY_S = 20.0
LEFTOVER_TIMEOUT_S = 10.0


class Supervisor:
    """Owns all children of one installation."""

    def __init__(self, installation: Installation, *, environment: Mapping[str, str]) -> None:
        self._installation = installation
        self._environment = dict(environment)
        self._folder = UnitFolder(installation.units)
        self._units: dict[str, Unit] = {}
        self._children: dict[str, Child] = {}
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._changing = asyncio.Lock()
        self.ending = asyncio.Event()
        self._control = ControlServer(
            installation.run / "supervisor.json",
            {
                "start": self._on_start,
                "stop": self._on_stop,
                "remove": self._on_remove,
                "restart": self._on_restart,
                "units": self._on_units,
                "shutdown": self._on_shutdown,
            },
        )

    async def open(self, group: asyncio.TaskGroup, *, control_port: int) -> None:
        """Take the installation: end leftovers, write the pid file, listen, heed signals.

        Raises:
            BlockingIOError: Another supervisor runs for this home.
        """
        run = self._installation.run
        me = identify(os.getpid())
        assert me is not None, "this process lives"
        # `up --detach` has written our own pid already, so that `down` finds us from the start.
        if pid_file_read(self._installation.supervisor_pid_file) not in {None, me}:
            raise BlockingIOError("another supervisor runs here")
        leftovers_end(run / "children.json")
        pid_file_write(self._installation.supervisor_pid_file, me)
        self._group = group
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.ending.set)
        await self._control.start(control_port)

    async def watch(self) -> None:
        """Rotate logs and remember children until the end is asked for."""
        while not self.ending.is_set():
            logs_rotate([child.definition.log_path for child in self._children.values()])
            self._remember_children()
            try:
                async with asyncio.timeout(ROTATE_EVERY_S):
                    await self.ending.wait()
            except TimeoutError:
                continue

    def keep(self, definition: Definition) -> Child:
        """Run a process from now on."""
        assert self._group is not None, "opened"
        definition.log_path.parent.mkdir(parents=True, exist_ok=True)
        child = Child(definition)
        self._children[definition.name] = child
        self._runs[definition.name] = self._group.create_task(child.run())
        return child

    def units_start(self) -> None:
        """Bring up what drivers placed before."""
        for unit in self._folder.load():
            self._units[unit.name] = unit
            if unit.is_wanted and unit.name not in self._children:
                self.keep(unit.definition(self._environment))

    async def close(self) -> None:
        """End all children in order of rank, then let go of the installation."""
        self.ending.set()
        async with self._changing:
            # Whoever comes later is refused, so that the children below are all there are.
            pass
        ranks = sorted({child.definition.stop_rank for child in self._children.values()})
        for rank in ranks:
            async with asyncio.TaskGroup() as group:
                for child in self._children.values():
                    if child.definition.stop_rank == rank:
                        group.create_task(child.stop())
        for task in self._runs.values():
            await asyncio.wait([task])
        self._control.stop()
        (self._installation.run / "children.json").unlink(missing_ok=True)
        self._installation.supervisor_pid_file.unlink(missing_ok=True)

    async def forget(self, name: str, *, at_once: bool = False) -> None:
        """Stop a child and drop it from the list."""
        child = self._children.get(name)
        if child is None:
            return
        await child.stop(at_once=at_once)
        await asyncio.wait([self._runs[name]])
        del self._children[name], self._runs[name]

    @asynccontextmanager
    async def _change(self) -> AsyncIterator[None]:
        """Let one change of units happen at a time, and none when the end has begun."""
        async with self._changing:
            if self.ending.is_set():
                raise EndingError("everything is being stopped")
            yield

    def _remember_children(self) -> None:
        identities = [identify(child.pid) for child in self._children.values() if child.pid]
        content = [
            {"pid": found.pid, "started": found.started, "signal": int(signal.SIGTERM)}
            for found in identities
            if found is not None
        ]
        (self._installation.run / "children.json").write_text(json.dumps(content))

    async def _on_start(self, arguments: dict[str, Json]) -> Json:
        unit = Unit.parse(arguments)
        async with self._change():
            self._refuse_service(unit.name)
            if len(self._units) >= UNITS_COUNT_MAX and unit.name not in self._units:
                raise UnitRefusedError(f"there are {UNITS_COUNT_MAX} units already")
            is_same = self._units.get(unit.name) == unit
            if not (is_same and unit.name in self._children):
                await self.forget(unit.name)
                self._folder.save(unit)
                self._units[unit.name] = unit
                self.keep(unit.definition(self._environment))
            self._remember_children()
            return self._status(unit.name)

    async def _on_stop(self, arguments: dict[str, Json]) -> Json:
        name = parse_name(arguments.get("name"))
        async with self._change():
            self._refuse_service(name)
            self._units[name] = self._folder.set_wanted(self._units[name], is_wanted=False)
            await self.forget(name, at_once=arguments.get("at_once") is True)
            return self._status(name)

    async def _on_remove(self, arguments: dict[str, Json]) -> Json:
        name = parse_name(arguments.get("name"))
        async with self._change():
            self._refuse_service(name)
            await self.forget(name)
            self._folder.remove(name)
            self._units.pop(name, None)
            return None

    async def _on_restart(self, arguments: dict[str, Json]) -> Json:
        name = parse_name(arguments.get("name"))
        async with self._change():
            if name in self._units:
                unit = self._folder.set_wanted(self._units[name], is_wanted=True)
                self._units[name] = unit
                definition = unit.definition(self._environment)
            else:
                definition = self._children[name].definition
            await self.forget(name)
            self.keep(definition)
            return self._status(name)

    async def _on_units(self, _arguments: dict[str, Json]) -> Json:
        names = sorted({*self._children, *self._units})
        return [self._status(name) for name in names]

    async def _on_shutdown(self, _arguments: dict[str, Json]) -> Json:
        self.ending.set()
        return None

    def _refuse_service(self, name: str) -> None:
        if name in self._children and name not in self._units:
            raise UnitRefusedError(f"{name} is a service of the portal itself")

    def _status(self, name: str) -> dict[str, Json]:
        child, unit = self._children.get(name), self._units.get(name)
        labels = unit.labels if unit is not None else {}
        return {
            "name": name,
            "pid": child.pid if child else None,
            "state": child.state if child else "stopped",
            "restarts": child.restarts if child else 0,
            "labels": dict(labels),
            "last_exit": child.last_exit if child else None,
        }


def logs_rotate(paths: Sequence[Path]) -> None:
    """Copy logs that grew too long aside and empty them; their writers append."""
    for path in paths:
        try:
            if path.stat().st_size <= LOG_SIZE_MAX:
                continue
        except OSError:
            continue
        for number in range(LOGS_COUNT_MAX - 1, 0, -1):
            older = path.with_name(f"{path.name}.{number}")
            if older.exists():
                older.replace(path.with_name(f"{path.name}.{number + 1}"))
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        os.truncate(path, 0)


def leftovers_end(path: Path) -> None:
    """End children of a supervisor that died, unless their pids belong to strangers by now."""
    try:
        rows = json.loads(path.read_text())
        found = [ProcessIdentity(int(row["pid"]), str(row["started"])) for row in rows]
    except (OSError, ValueError, KeyError, TypeError):
        return
    for process in found:
        if is_alive(process):
            end(process, stop_signal=signal.SIGTERM, timeout_s=LEFTOVER_TIMEOUT_S)
    path.unlink(missing_ok=True)


async def supervise_units(installation: Installation, *, control_port: int) -> None:
    """Run a supervisor that has units only: for drivers without the rest of the portal."""
    supervisor = Supervisor(installation, environment=os.environ)
    async with asyncio.TaskGroup() as group:
        await supervisor.open(group, control_port=control_port)
        supervisor.units_start()
        await supervisor.watch()
        await supervisor.close()


def main() -> int:
    """Run units of a home until a signal ends it."""
    parser = argparse.ArgumentParser(description=supervise_units.__doc__)
    parser.add_argument("--home", type=Path, required=True)
    installation = Installation(parser.parse_args().home.absolute())
    installation.prepare()
    asyncio.run(supervise_units(installation, control_port=free_ports(1)[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
