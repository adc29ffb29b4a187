"""Definitions of supervised processes, and the folder that remembers those placed by drivers."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from portal.commands.launching import Launch
from portal.commands.state import write_secret
from portal.core.supervision import Json

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
UNITS_COUNT_MAX = 512
ARGUMENTS_COUNT_MAX = 256
VALUE_LENGTH_MAX = 16_384


class UnitRefusedError(Exception):
    """A definition is malformed or exceeds a limit; the text names the field."""


class EndingError(Exception):
    """The supervisor is ending everything and starts nothing any more."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One process to keep running."""

    name: str
    launch: Launch
    log_path: Path
    labels: Mapping[str, str] = field(default_factory=dict)
    ready_port: int | None = None
    # Ended in ascending order: nodes before the web, the web before the databases.
    stop_rank: int = 0
    stop_timeout_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Unit:
    """A process placed through the control port, with what has to survive the supervisor."""

    name: str
    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    log_path: str
    labels: Mapping[str, str]
    is_wanted: bool = True

    @classmethod
    def parse(cls, value: Json) -> Self:
        """Check a definition that came from outside.

        Raises:
            UnitRefusedError: A field is missing, ill-typed or too long.
        """
        if not isinstance(value, dict):
            raise UnitRefusedError("a unit is an object")
        argv = value.get("argv")
        if not isinstance(argv, list) or not 0 < len(argv) <= ARGUMENTS_COUNT_MAX:
            raise UnitRefusedError("argv: 1 to 256 texts")
        return cls(
            name=parse_name(value.get("name")),
            argv=tuple(_text(item, "argv") for item in argv),
            cwd=_text(value.get("cwd"), "cwd"),
            env=_texts(value.get("env"), "env"),
            log_path=_text(value.get("log_path"), "log_path"),
            labels=_texts(value.get("labels"), "labels"),
            is_wanted=value.get("is_wanted", True) is True,
        )

    def definition(self, environment: Mapping[str, str]) -> Definition:
        """Return what the supervisor runs for this unit."""
        launch = Launch(argv=self.argv, cwd=Path(self.cwd), env={**environment, **self.env})
        return Definition(
            name=self.name, launch=launch, log_path=Path(self.log_path), labels=self.labels
        )


def parse_name(value: Json) -> str:
    """Return a unit's name.

    Raises:
        UnitRefusedError: It is none; names are file names too.
    """
    if not isinstance(value, str) or not NAME_PATTERN.fullmatch(value):
        raise UnitRefusedError("name: 1 to 128 of a-z 0-9 . _ -")
    return value


def _text(value: Json, what: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= VALUE_LENGTH_MAX or "\0" in value:
        raise UnitRefusedError(f"{what}: texts of 1 to {VALUE_LENGTH_MAX} characters")
    return value


def _texts(value: Json, what: str) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > ARGUMENTS_COUNT_MAX:
        raise UnitRefusedError(f"{what}: an object of at most {ARGUMENTS_COUNT_MAX} texts")
    return {
        _text(key, what): item if item == "" else _text(item, what) for key, item in value.items()
    }


class UnitFolder:
    """The definitions on disk, one file each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self) -> list[Unit]:
        """Return every remembered unit; a file that cannot be read is left alone and skipped."""
        units = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                units.append(Unit.parse(json.loads(path.read_text())))
            except (OSError, ValueError, UnitRefusedError):
                continue
        return units

    def save(self, unit: Unit) -> None:
        """Remember a unit; its environment may hold secrets, so the file is private."""
        content = {
            "name": unit.name,
            "argv": list(unit.argv),
            "cwd": unit.cwd,
            "env": dict(unit.env),
            "log_path": unit.log_path,
            "labels": dict(unit.labels),
            "is_wanted": unit.is_wanted,
        }
        write_secret(self._folder / f"{unit.name}.json", json.dumps(content))

    def set_wanted(self, unit: Unit, *, is_wanted: bool) -> Unit:
        """Remember whether the next start brings the unit up."""
        changed = replace(unit, is_wanted=is_wanted)
        self.save(changed)
        return changed

    def remove(self, name: str) -> None:
        """Forget a unit."""
        (self._folder / f"{name}.json").unlink(missing_ok=True)
