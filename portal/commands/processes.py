"""Processes told apart by pid and start time, so that a stale pid file never hits a stranger."""

import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from time import sleep

POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process that existed: its number alone may belong to somebody else by now."""

    pid: int
    started: str


def start_mark(pid: int) -> str | None:
    """Return a text that differs for two processes that had the same pid, or None if gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return _start_mark_by_ps(pid) if not Path("/proc/self").exists() else None
    except OSError:
        return None
    # The second field is the command in parentheses and may hold spaces: count after it.
    fields = text.rpartition(")")[2].split()
    is_zombie = fields[0] in {"Z", "X"}
    return None if is_zombie else f"{_boot_mark()}:{fields[19]}"


def _boot_mark() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown-boot"


def _start_mark_by_ps(pid: int) -> str | None:
    result = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return result.stdout.strip() or None


def identify(pid: int) -> ProcessIdentity | None:
    """Return the identity of a living process."""
    started = start_mark(pid)
    return None if started is None else ProcessIdentity(pid, started)


def is_alive(process: ProcessIdentity) -> bool:
    """Tell whether that very process still runs."""
    return start_mark(process.pid) == process.started


def pid_file_write(path: Path, process: ProcessIdentity) -> None:
    """Remember a process; the file appears whole or not at all."""
    staging = path.with_name(path.name + ".new")
    staging.write_text(json.dumps({"pid": process.pid, "started": process.started}))
    staging.replace(path)


def pid_file_read(path: Path) -> ProcessIdentity | None:
    """Return the process of a pid file if that very process still runs."""
    try:
        content = json.loads(path.read_text())
        process = ProcessIdentity(int(content["pid"]), str(content["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return process if is_alive(process) else None


def end(process: ProcessIdentity, *, stop_signal: int, timeout_s: float) -> bool:
    """Ask a process to end, then force it; tell whether asking was enough."""
    if not _send(process, stop_signal):
        return True
    for _ in range(int(timeout_s / POLL_S)):
        if not is_alive(process):
            return True
        sleep(POLL_S)
    _send(process, signal.SIGKILL)
    for _ in range(int(5 / POLL_S)):
        if not is_alive(process):
            break
        sleep(POLL_S)
    return False


def _send(process: ProcessIdentity, number: int) -> bool:
    if not is_alive(process):
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    return True
