"""Mail as its readers see it: who got what, and where its link leads."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.core.mail import EmailMessage

LINK = re.compile(r"http://testserver(\S+)")


class Letters:
    """The mail of a test; only what is sent inside `expected` is delivered."""

    def __init__(self, outbox: list[EmailMessage], capture: Callable) -> None:
        self._outbox = outbox
        self._capture = capture

    @contextmanager
    def expected(self) -> Iterator[list[EmailMessage]]:
        """Collect what is sent in the block, once its transaction is committed."""
        found: list[EmailMessage] = []
        before = len(self._outbox)
        with self._capture(execute=True):
            yield found
        found += self._outbox[before:]


def link_in(message: EmailMessage) -> str:
    """Return the path of the letter's one link."""
    (path,) = LINK.findall(message.body)
    return path
