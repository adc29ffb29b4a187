"""One gRPC call: who makes it, and how it ends."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from grpc.aio import ServicerContext

from dataplane.gateways.answers import Answer
from dataplane.gateways.auditing import Seen
from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem
from dataplane.gateways.rpc.statuses import abort
from dataplane.gateways.serving import foreseen, serve
from dataplane.gateways.tracing import TRACE, trace_of

log = logging.getLogger(__name__)

DATA: Final = "aerolith.v1.DataService"
CLUSTER: Final = "aerolith.v1.ClusterService"

_NOUN: Final = {DATA: "document", CLUSTER: "cluster"}

type Call = ServicerContext[Any, Any]


class Calls:
    """What the servicers share."""

    def __init__(self, context: Context, service: str) -> None:
        self.context = context
        self._service = service

    def caller_of(self, call: Call) -> Caller:
        """Return who calls, by the metadata.

        Raises:
            Problem: `unauthenticated`.
        """
        TRACE.set(trace_of(_metadata(call, "traceparent")))
        return self.context.admission.caller_of(_metadata(call, "authorization"))

    async def answer[M](
        self,
        call: Call,
        method: str,
        call_class: str,
        work: Callable[[Caller], Awaitable[Answer]],
        *,
        render: Callable[[Answer], M],
        about: tuple[str, ...] = (),
    ) -> M:
        """Do a call with one answer; a refusal becomes a status.

        `about` is the collection, and the document, that a refusal is recorded with.
        """
        seen = Seen(f"{_NOUN[self._service]}.{method.lower()}", *about)
        try:
            caller = self.caller_of(call)
            answer = await serve(self.context, caller, call_class, lambda: work(caller), seen=seen)
            return render(answer)
        except Exception as error:  # noqa: BLE001 - the last line before the client
            await abort(call, foreseen(error), f"{self._service}/{method}")

    async def stream[M](
        self, call: Call, method: str, items: Callable[[Caller], AsyncIterator[M]]
    ) -> AsyncIterator[M]:
        """Do a call with a stream of answers; a refusal becomes a status."""
        try:
            caller = self.caller_of(call)
            # Of all calls that the server takes at once, one key could otherwise hold every one.
            with self.context.admission.stream(caller):
                async for item in items(caller):
                    yield item
        except Exception as error:  # noqa: BLE001 - the last line before the client
            await abort(call, foreseen(error), f"{self._service}/{method}")


def _metadata(call: Call, name: str) -> str | None:
    """Return the one value of a name; None when there is none, or more than one."""
    given = [value for key, value in call.invocation_metadata() or () if key == name]
    return given[0] if len(given) == 1 and isinstance(given[0], str) else None


def needed(text: str, name: str) -> str:
    """Return a field that a request cannot do without.

    Raises:
        Problem: `invalid`.
    """
    if not text:
        raise Problem(
            "invalid", f"{name} is needed", {"errors": [{"pointer": f"/{name}", "detail": "empty"}]}
        )
    return text
