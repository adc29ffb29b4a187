"""The end of a node to which something happened that the protocol does not foresee."""

import logging
from collections.abc import Callable
from types import TracebackType

log = logging.getLogger(__name__)


class Halting:
    """A block in which an error ends the node, used again and again: every event is in one."""

    def __init__(self, halt: Callable[[str], None]) -> None:
        self._halt = halt

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Halt at an error, and go on behind the block; what ends the program passes."""
        if not isinstance(error, Exception):
            return False
        log.error("node.invariant", exc_info=error)
        self._halt(f"{type(error).__name__}: {error}")
        return True
