"""What both clients share: what to send, and when to ask again, at which node."""

import secrets
from collections.abc import Iterator
from typing import Any, Final

import httpx

from dataplane.client import calls
from dataplane.client.calls import Call
from dataplane.client.errors import ApiError, ClusterUnreachableError
from dataplane.client.nodes import Nodes

TIMEOUT_S: Final = 10.0
ROUNDS: Final = 2
"""How often each node is asked."""
PAUSE_S: Final = 0.25
"""Between two rounds, unless the nodes say how long (`Retry-After`), which is then bounded:"""
PAUSE_S_MAX: Final = 2.0
AUDIT_PAGE: Final = 1_000
PAGE_LIMIT: Final = 500


class Attempts:
    """One call on its way: ask the nodes in turn, and repeat what is safe to repeat.

    Reads are, and writes are because they carry an idempotency key: the cluster does them once.
    """

    def __init__(self, nodes: Nodes, call: Call, idempotency_key: str | None) -> None:
        self._nodes = nodes
        self._call = call
        self._key = (idempotency_key or secrets.token_urlsafe(18)) if call.write else None
        self._last: Exception | None = None
        self._pause_s = PAUSE_S
        self._url = ""
        self.result: Any = None
        self.is_done = False

    def pauses(self) -> Iterator[float]:
        """Yield, before each attempt, how long to wait.

        Members that are learned of meanwhile begin the next round at once; the first time this
        happens, one more is made for them.
        """
        rounds = 1 if self._call.probe else ROUNDS
        pause, has_learned = False, False
        while rounds:
            rounds -= 1
            urls, members = self._nodes.urls, self._nodes.members
            for url in urls:
                self._url = url
                yield self._pause_s if pause else 0.0
                pause = False
                if self._nodes.members != members:
                    break
            else:
                pause = True
                continue
            rounds += not has_learned
            has_learned = True

    def request(self) -> dict[str, Any]:
        """Return the arguments of the HTTP request."""
        call = self._call
        headers = {**self._nodes.headers, **call.headers}
        content = call.content()
        if content is not None:
            headers["Content-Type"] = call.content_type
        if self._key is not None:
            headers["Idempotency-Key"] = self._key
        if self._nodes.sequence:
            headers["Aerolith-After"] = str(self._nodes.sequence)
        return {
            "method": call.method,
            "url": self._url + call.path,
            "content": content,
            "headers": headers,
            "params": call.params or None,
        }

    def answered(self, response: httpx.Response) -> None:
        """Take a response.

        Raises:
            ApiError: A refusal that asking again does not change.
        """
        self._nodes.answered(response.headers)
        try:
            self.result = calls.result_of(response)
        except ApiError as error:
            if not error.is_passing:
                raise
            wait_s = PAUSE_S if error.retry_after_s is None else error.retry_after_s
            self._pause_s = min(wait_s, PAUSE_S_MAX)
            self._last = error
        else:
            self._nodes.served(self._url)
            self.is_done = True

    def streams(self, response: httpx.Response) -> None:
        """Take the head of an answer whose body comes little by little."""
        self._nodes.answered(response.headers)
        self._nodes.served(self._url)
        self.is_done = True

    def broke_off(self) -> None:
        """Take that an answer did not come to its end."""
        self._nodes.left(self._url)

    def failed(self, error: httpx.HTTPError) -> None:
        """Take that a node did not answer."""
        self._last = error
        self._nodes.lost()

    def give_up(self) -> Exception:
        """Return the error after the last attempt."""
        self._nodes.failed()
        if isinstance(self._last, ApiError):
            return self._last
        return ClusterUnreachableError(f"no node answered: {self._last}")
