"""Start child processes that cannot outlive their parent, if need be under another identity."""

import ctypes
import errno
import os
import pwd
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TypedDict

PR_SET_PDEATHSIG = 1
NOBODY_ID = 65534

# Loaded before any fork: importing in the child of a threaded process may deadlock.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class Identity(Enum):
    """As whom a child runs. Postgres refuses to run as root, so root lends it another identity."""

    SAME = "same"
    NOBODY = "nobody"
    NAMESPACE = "namespace"


@dataclass(frozen=True, slots=True)
class Launch:
    """A process to start: everything `subprocess` needs, decided beforehand."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    identity: Identity = Identity.SAME
    stop_signal: int = signal.SIGTERM
    cleanup_group: bool = True


def traversable_by_others(path: Path) -> bool:
    """Tell whether a stranger may reach `path` through all of its parents."""
    return all(
        parent.stat().st_mode & stat.S_IXOTH for parent in (path, *path.parents) if parent.exists()
    )


def unprivileged_identity(paths: Sequence[Path]) -> Identity:
    """Choose an identity other than root that can reach all `paths`.

    A checkout below a closed home folder is out of reach of `nobody`; a user namespace keeps
    root's own rights on its own files while the process sees another user id.
    """
    if os.geteuid() != 0:
        return Identity.SAME
    if all(traversable_by_others(path) for path in paths):
        return Identity.NOBODY
    return Identity.NAMESPACE


def own_for(identity: Identity, path: Path) -> None:
    """Give a folder to the identity that is going to use it."""
    if identity is Identity.NOBODY:
        os.chown(path, NOBODY_ID, _nobody_group())


def _nobody_group() -> int:
    try:
        return pwd.getpwuid(NOBODY_ID).pw_gid
    except KeyError:
        return NOBODY_ID


def child_setup(launch: Launch) -> Callable[[], None]:
    """Return what runs in the child between fork and exec."""
    parent = os.getpid()

    def setup() -> None:
        if launch.identity is Identity.NAMESPACE:
            _enter_user_namespace()
        # After every change of identity: the kernel forgets the signal when credentials change.
        if _LIBC is not None and _LIBC.prctl(PR_SET_PDEATHSIG, int(launch.stop_signal), 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent:
            os._exit(errno.ESRCH)

    return setup


def _enter_user_namespace() -> None:
    user, group = os.geteuid(), os.getegid()
    os.unshare(os.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{NOBODY_ID} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{NOBODY_ID} {group} 1")


class IdentityOptions(TypedDict, total=False):
    """Arguments of `subprocess`."""

    user: int
    group: int
    extra_groups: list[int]


def identity_options(launch: Launch) -> IdentityOptions:
    """Return the keyword arguments by which `subprocess` changes the user."""
    if launch.identity is not Identity.NOBODY:
        return {}
    return {"user": NOBODY_ID, "group": _nobody_group(), "extra_groups": []}


def start(launch: Launch, *, log_path: Path) -> "subprocess.Popen[bytes]":
    """Start a child in its own process group with its output appended to a log file."""
    with log_path.open("ab") as log:
        return subprocess.Popen(
            launch.argv,
            cwd=launch.cwd,
            env=dict(launch.env),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=child_setup(launch),
            **identity_options(launch),
        )


def run(launch: Launch, *, timeout_s: float) -> "subprocess.CompletedProcess[str]":
    """Run a short-lived tool to its end and return its output; the caller judges the code."""
    return subprocess.run(
        launch.argv,
        cwd=launch.cwd,
        env=dict(launch.env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=timeout_s,
        preexec_fn=child_setup(launch),
        **identity_options(launch),
    )
