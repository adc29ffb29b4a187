"""Reasons for which usage is refused."""


class MalformedBody(Exception):
    """The body is not a CloudEvent and not a batch of them."""


class EventRefused(Exception):
    """One event cannot be counted."""

    def __init__(self, code: str, detail: str, *, dead_letter: bool = False) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.dead_letter = dead_letter
