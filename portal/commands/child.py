"""One supervised process: started, watched, restarted with growing pauses, ended as a group."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections import deque
from contextlib import suppress
from subprocess import SubprocessError

from portal.commands.launching import child_setup, identity_options
from portal.commands.ports import port_answers
from portal.commands.units import Definition

BACKOFF_FIRST_S = 0.25
BACKOFF_MAX_S = 15.0
CRASHES_COUNT_MAX = 6
CRASHES_WINDOW_S = 60.0
BREAKER_PAUSE_S = 60.0
READY_TIMEOUT_S = 60.0
READY_POLL_S = 0.05
# A process that lived this long is counted as healthy again.
SETTLED_S = 0.3


class Child:
    """Keeps one definition running until told to stop; every method runs on the loop."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.state = "stopped"
        self.restarts = 0
        self.last_exit: int | None = None
        self.ready = asyncio.Event()
        self._process: Process | None = None
        self._is_wanted = False
        self._wake = asyncio.Event()
        self._crashes: deque[float] = deque(maxlen=CRASHES_COUNT_MAX)

    @property
    def pid(self) -> int | None:
        """The living process."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def run(self) -> None:
        """Keep the process running; returns once `stop` was called and it is gone."""
        self._is_wanted = True
        while self._is_wanted:
            try:
                await self._live_once()
            except (OSError, SubprocessError) as error:
                self.last_exit = 127
                await self._note(f"cannot be started: {error}")
            if self._is_wanted:
                await self._pause()
        self.state = "stopped"

    async def stop(self, *, at_once: bool = False) -> None:
        """End the process in its own way, by force after its time is over or `at_once`."""
        self._is_wanted = False
        self._wake.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        if at_once:
            self._kill_group(process.pid)
            await process.wait()
            return
        await self._end(process)

    def retry_now(self) -> None:
        """Close the breaker: forget past crashes and start at once."""
        self._crashes.clear()
        self._wake.set()

    async def _live_once(self) -> None:
        self.state = "starting"
        self.ready.clear()
        self._wake.clear()
        launch = self.definition.launch
        with self.definition.log_path.open("ab") as log:
            self._process = process = await asyncio.create_subprocess_exec(
                *launch.argv,
                cwd=launch.cwd,
                env=dict(launch.env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=child_setup(launch),
                **identity_options(launch),
            )
        if not self._is_wanted:
            # Told to stop while it was being started, when there was nothing yet to signal.
            await self._end(process)
        async with asyncio.TaskGroup() as group:
            readiness = group.create_task(self._become_ready(process))
            self.last_exit = await process.wait()
            readiness.cancel()
        self.ready.clear()
        # Whatever it started must not outlive it: the next one needs its ports and files.
        self._kill_group(process.pid)

    async def _end(self, process: Process) -> None:
        self.state = "stopping"
        with suppress(ProcessLookupError):
            process.send_signal(self.definition.launch.stop_signal)
        try:
            async with asyncio.timeout(self.definition.stop_timeout_s):
                await process.wait()
        except TimeoutError:
            await self._note(f"still there {self.definition.stop_timeout_s:g} s after the signal")
            self._kill_group(process.pid)
            await process.wait()

    async def _become_ready(self, process: Process) -> None:
        port = self.definition.ready_port
        if port is None:
            await asyncio.sleep(SETTLED_S)
        else:
            for _ in range(int(READY_TIMEOUT_S / READY_POLL_S)):
                if port_answers(port):
                    break
                await asyncio.sleep(READY_POLL_S)
        if process.returncode is None and self.state == "starting":
            self.state = "running"
            self.ready.set()

    async def _pause(self) -> None:
        now = asyncio.get_running_loop().time()
        self._crashes.append(now)
        recent = [at for at in self._crashes if now - at < CRASHES_WINDOW_S]
        if len(recent) >= CRASHES_COUNT_MAX:
            self.state, pause = "failed", BREAKER_PAUSE_S
        else:
            self.state = "backoff"
            pause = min(BACKOFF_FIRST_S * 2 ** (len(recent) - 1), BACKOFF_MAX_S)
        await self._note(f"ended with {self.last_exit}; {self.state} for {pause:g} s")
        self._wake.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._wake.wait()
        self.restarts += 1

    async def _note(self, text: str) -> None:
        line = (
            f'{{"event": "supervisor.child", "name": "{self.definition.name}", "text": "{text}"}}\n'
        )
        with suppress(OSError), self.definition.log_path.open("a") as log:
            log.write(line)

    def _kill_group(self, pid: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
