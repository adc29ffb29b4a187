"""What a run can find, and how a simulated disk fails."""


class ViolationError(Exception):
    """A promise of the protocol was broken."""

    def __init__(self, checker: str, detail: str) -> None:
        super().__init__(f"{checker}: {detail}")
        self.checker = checker


class DiskFullError(Exception):
    """A record could not be written."""


class DamagedLogError(Exception):
    """The log holds a record that is not what was written: votes may be forgotten."""
