"""One look at one document: what was found wrong, and how much work that was."""

from collections.abc import Callable
from typing import Any, Final

from dataplane.documents.values import escape_pointer

ERRORS_MAX: Final = 32
DEPTH_MAX: Final = 200
"""Schemas inside each other while one value is looked at; well below what Python's stack holds."""
UNITS: Final = 10_000
BYTES_PER_UNIT: Final = 2
"""A document may take so much work, and more the larger it is."""
_TEXT_PER_UNIT: Final = 16

type Fault = tuple[str, str]
"""JSON Pointer into the document, and what is wrong there."""


class TooCostlyError(Exception):
    """The document takes more work than one may."""


class Marks:
    """Which members and elements of a value some schema has looked at (for `unevaluated...`)."""

    __slots__ = ("elements", "has_all", "names", "prefix")

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.elements: set[int] = set()
        self.prefix = 0
        self.has_all = False
        """All of them, of whichever kind the value has."""

    def add(self, other: "Marks") -> None:
        """Take over the marks of a schema that the value fits."""
        self.names |= other.names
        self.elements |= other.elements
        self.prefix = max(self.prefix, other.prefix)
        self.has_all = self.has_all or other.has_all


class Run:
    """The state of a look; `quiet` while a fault is a finding and not an error."""

    __slots__ = ("depth", "faults", "path", "quiet", "tracks", "units")

    def __init__(self, size_bytes: int, *, tracks: bool) -> None:
        self.faults: list[Fault] = []
        self.path: list[str | int] = []
        self.quiet = 0
        self.depth = 0
        self.units = UNITS + size_bytes // BYTES_PER_UNIT
        self.tracks = tracks

    def spend(self, units: int) -> None:
        """Count work.

        Raises:
            TooCostlyError: It was too much.
        """
        self.units -= units
        if self.units < 0:
            raise TooCostlyError("it takes too much work to check against the schema")

    def read(self, text: str) -> None:
        """Count the work of looking through a text."""
        self.spend(1 + len(text) // _TEXT_PER_UNIT)

    def fail(self, detail: str, *below: str | int) -> bool:
        """Note a fault at the value, or below it; return False."""
        if not self.quiet and len(self.faults) < ERRORS_MAX:
            self.faults.append((pointer_of([*self.path, *below]), detail))
        return False


type Search = Callable[[str, Run], bool]
"""Whether a pattern is found in a text; the work is counted."""
type Check = Callable[[Any, Run, Marks | None], bool]


class Node:
    """A schema as the checks that it consists of."""

    __slots__ = ("checks", "pointer")

    def __init__(self, pointer: str) -> None:
        self.pointer = pointer
        self.checks: list[Check] = []

    def fits(self, value: Any, run: Run, marks: Marks | None) -> bool:
        """Say whether a value fits; without an audience the first fault is enough."""
        run.depth += 1
        if run.depth > DEPTH_MAX:
            raise TooCostlyError("it nests too deep to check against the schema")
        run.spend(1)
        fits = True
        for check in self.checks:
            if not check(value, run, marks):
                fits = False
                if run.quiet:
                    break
        run.depth -= 1
        return fits

    def fits_below(self, value: Any, place: str | int, run: Run) -> bool:
        """Say whether a member or an element fits."""
        run.path.append(place)
        fits = self.fits(value, run, Marks() if run.tracks else None)
        run.path.pop()
        return fits

    def fits_quietly(self, value: Any, run: Run, marks: Marks | None) -> bool:
        """Say whether a value fits, as a question: the marks of an answer in the negative are lost.

        Also when it is refused for its costs nothing is left behind: the look ends then.
        """
        run.quiet += 1
        own = None if marks is None else Marks()
        fits = self.fits(value, run, own)
        run.quiet -= 1
        if fits and marks is not None and own is not None:
            marks.add(own)
        return fits


def pointer_of(path: list[str | int]) -> str:
    """Return the JSON Pointer of a path."""
    return "".join([f"/{escape_pointer(str(part))}" for part in path])
