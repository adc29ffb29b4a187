"""What a run can find."""


class ViolationError(Exception):
    """A promise of the protocol was broken."""

    def __init__(self, checker: str, detail: str) -> None:
        super().__init__(f"{checker}: {detail}")
        self.checker = checker
