"""Start child processes that cannot outlive their parent, if need be under another identity."""

import errno
import os
import signal
import stat
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TypedDict

from portal.commands.privileges import NOBODY_ID, die_with_parent, nobody_group, nobody_passing


class Identity(Enum):
    """As whom a child runs. Postgres refuses to run as root, so root lends it another identity."""

    SAME = "same"
    NOBODY = "nobody"
    # May also pass and read folders that are closed to strangers, such as root's home.
    NOBODY_PASSING = "nobody_passing"


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

    A checkout below a closed home folder is out of reach of `nobody`, who then keeps one of
    root's capabilities. A user namespace would do as well, but containers and chroots refuse it.
    """
    if os.geteuid() != 0:
        return Identity.SAME
    if all(traversable_by_others(path) for path in paths):
        return Identity.NOBODY
    return Identity.NOBODY_PASSING


def own_for(identity: Identity, path: Path) -> None:
    """Give a file, or a folder with all that is in it, to the identity that is going to use it."""
    if identity is Identity.SAME:
        return
    group = nobody_group()
    for parent, folders, files in os.walk(path):
        for name in (*folders, *files):
            os.chown(Path(parent) / name, NOBODY_ID, group, follow_symlinks=False)
    # Last: its owner tells whether the rest was done.
    os.chown(path, NOBODY_ID, group)


def child_setup(launch: Launch) -> Callable[[], None]:
    """Return what runs in the child between fork and exec."""
    parent = os.getpid()
    become = nobody_passing() if launch.identity is Identity.NOBODY_PASSING else None

    def setup() -> None:
        if become is not None:
            become()
        # After every change of identity: the kernel forgets the signal when credentials change.
        die_with_parent(launch.stop_signal)
        if os.getppid() != parent:
            os._exit(errno.ESRCH)

    return setup


class IdentityOptions(TypedDict, total=False):
    """Arguments of `subprocess`."""

    user: int
    group: int
    extra_groups: list[int]


def identity_options(launch: Launch) -> IdentityOptions:
    """Return the keyword arguments by which `subprocess` changes the user."""
    if launch.identity is not Identity.NOBODY:
        return {}
    return {"user": NOBODY_ID, "group": nobody_group(), "extra_groups": []}


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
