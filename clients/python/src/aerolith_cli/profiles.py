"""What the command line remembers: portals, tokens and keys, readable by its user alone."""

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, override

import msgspec

from aerolith_cli.exits import USAGE, CommandError
from dataplane.client.anchors import TrustAnchor

CONFIG_VARIABLE: Final = "AEROLITH_CONFIG"
CONFIG_BYTES_MAX: Final = 4 * 1024 * 1024
PROFILES_MAX: Final = 64
NAME_DEFAULT: Final = "default"
_OTHERS: Final = 0o077


class StoredKey(msgspec.Struct, frozen=True):
    """A key of a cluster, and whose signatures were trusted when it was made."""

    id: str
    token: str
    anchor: TrustAnchor | None = None

    @override
    def __repr__(self) -> str:
        return f"StoredKey({self.id!r})"


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """An account at a portal, and what was chosen there."""

    portal: str
    token: str
    organization: str | None = None
    cluster: str | None = None
    keys: dict[str, StoredKey] = {}

    @override
    def __repr__(self) -> str:
        return f"Profile({self.portal!r}, {self.organization!r})"


class Config(msgspec.Struct, frozen=True):
    """The whole file."""

    version: int = 1
    current: str = NAME_DEFAULT
    profiles: dict[str, Profile] = {}


def config_path() -> Path:
    """Return where the file is: by AEROLITH_CONFIG, or where the system keeps such files."""
    if named := os.environ.get(CONFIG_VARIABLE):
        return Path(named)
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "aerolith" / "config.json"


def load() -> Config:
    """Read the file; without one, nothing is remembered.

    Raises:
        CommandError: Others may read it, or it is broken.
    """
    path = config_path()
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & _OTHERS:
                hint = f"It holds tokens: chmod 600 {path}"
                raise CommandError(f"other users may read {path}", code=USAGE, hint=hint)
            data = file.read(CONFIG_BYTES_MAX + 1)
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from error
    try:
        return msgspec.json.decode(data, type=Config)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        hint = "Remove it and log in again."
        raise CommandError(f"{path} is broken: {error}", hint=hint) from error


@contextlib.contextmanager
def changing() -> Iterator[list[Config]]:
    """Give the file's content in a list of one; what is in the list afterwards is stored.

    Two commands at a time do not lose what the other one stored.
    """
    path = config_path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        held = [load()]
        before = held[0]
        yield held
        if held[0] != before:
            if len(held[0].profiles) > PROFILES_MAX:
                raise CommandError(f"at most {PROFILES_MAX} profiles are kept: remove one")
            write_private(path, msgspec.json.format(msgspec.json.encode(held[0]), indent=2))
    finally:
        os.close(lock)


def write_private(path: Path, data: bytes) -> None:
    """Replace a file at once by one that only its user may read."""
    staged = path.with_name(f"{path.name}.{secrets.token_hex(6)}")
    handle = os.open(staged, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise


def with_profile(config: Config, name: str, profile: Profile) -> Config:
    """Return the configuration with a profile added or replaced."""
    return msgspec.structs.replace(config, profiles={**config.profiles, name: profile})


def with_key(config: Config, name: str, cluster: str, key: StoredKey | None) -> Config:
    """Return the configuration with a key of a cluster remembered, or forgotten."""
    profile = config.profiles.get(name)
    if profile is None:
        return config
    keys = {known: value for known, value in profile.keys.items() if known != cluster}
    if key is not None:
        keys[cluster] = key
    return with_profile(config, name, msgspec.structs.replace(profile, keys=keys))
