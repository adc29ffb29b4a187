"""A client of the cluster on one node: sessions, retransmission, matching replies."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from dataplane.consensus.messages import Reply, Request, request_payload
from dataplane.documents.commands import session_id
from dataplane.documents.types import RequestResult
from dataplane.simulation.application import Workload
from dataplane.simulation.signatures import FakeSigner
from dataplane.wire.quorum import reply_quorum

OUTSTANDING_MAX = 12
REPEAT_MS = 250


@dataclass(slots=True)
class Asked:
    """A request under way and the digests that came back."""

    request: Request
    sent_ms: int
    own: RequestResult | None = None
    digests: dict[int, bytes] = field(default_factory=dict)


class Gateway:
    """Asks `remaining` requests; a restart forgets everything and opens a new session."""

    def __init__(
        self,
        *,
        cluster_id: bytes,
        node_id: int,
        needed: int,
        signer: FakeSigner,
        workload: Workload,
        rng: Random,
    ) -> None:
        self._cluster_id = cluster_id
        self._node_id = node_id
        self._needed = needed
        self._signer = signer
        self._workload = workload
        self._rng = rng
        self._lives = 0
        self._session = b""
        self._opened = False
        self._next_cseq = 1
        self._answered = 0
        self._asked: dict[int, Asked] = {}
        self.remaining = 0

    @property
    def is_done(self) -> bool:
        """Whether every request of this life was asked and answered."""
        return self.remaining == 0 and not any(self._asked) and (self._opened or not self._lives)

    def restart(self, now_ms: int) -> Request:
        """Begin a new life; return the request that opens its session."""
        self._lives += 1
        nonce = b"%d.%d" % (self._node_id, self._lives)
        self._session = session_id(self._signer.public_key, nonce)
        self._opened, self._next_cseq, self._answered = False, 1, 0
        opening = self._sign(0, (self._workload.opening(nonce),))
        self._asked = {0: Asked(opening, now_ms)}
        return opening

    def _sign(self, cseq: int, ops: tuple[bytes, ...]) -> Request:
        ack = min(self._answered, cseq)
        blank = Request(self._signer.public_key, self._session, cseq, ack, ops, b"")
        signature = self._signer.sign(request_payload(self._cluster_id, blank))
        return Request(self._signer.public_key, self._session, cseq, ack, ops, signature)

    def next_request(self, now_ms: int) -> Request | None:
        """Return a new request when the session is open and not too much is under way."""
        if not self._opened or self.remaining == 0:
            return None
        if self._next_cseq - self._answered > OUTSTANDING_MAX:
            return None
        count = self._rng.choice((1, 1, 2))
        ops = tuple(self._workload.operation(self._rng.randint(0, 5)) for _ in range(count))
        request = self._sign(self._next_cseq, ops)
        self._asked[self._next_cseq] = Asked(request, now_ms)
        self._next_cseq += 1
        self.remaining -= 1
        return request

    def order(self, operation: bytes, now_ms: int) -> Request | None:
        """Return a request of the control plane, if this gateway can be asked now."""
        if not self._opened or self._next_cseq - self._answered > OUTSTANDING_MAX:
            return None
        request = self._sign(self._next_cseq, (operation,))
        self._asked[self._next_cseq] = Asked(request, now_ms)
        self._next_cseq += 1
        return request

    def set_replica_count(self, n: int) -> None:
        """Take notice of other members: so many equal replies are needed from now on."""
        self._needed = reply_quorum(n)

    def due(self, now_ms: int) -> list[Request]:
        """Return the requests to send again."""
        again = []
        for asked in self._asked.values():
            if now_ms - asked.sent_ms >= REPEAT_MS:
                asked.sent_ms = now_ms
                again.append(asked.request)
        return again

    def on_own_result(self, result: RequestResult) -> RequestResult | None:
        """Take this node's result; return it when enough others agree."""
        asked = self._find(result.session, result.cseq)
        if asked is None:
            return None
        asked.own = result
        asked.digests[self._node_id] = result.digest
        return self._settle(asked)

    def on_copied(self, recorded: Callable[[Request], RequestResult | None]) -> list[RequestResult]:
        """Take the answers that a copied state holds: a quorum signed it, so they are certain.

        That of an opening, whose sequence the state does not tell, is not among what is returned.
        """
        answers = [
            answer
            for asked in list(self._asked.values())
            if (answer := recorded(asked.request)) is not None
        ]
        for answer in answers:
            self._conclude(answer)
        return [answer for answer in answers if answer.cseq]

    def on_reply(self, reply: Reply) -> RequestResult | None:
        """Take a peer's digest; return the own result when enough agree with it."""
        asked = self._find(reply.session, reply.cseq)
        if asked is None or reply.client != self._signer.public_key:
            return None
        asked.digests.setdefault(reply.replica, reply.digest)
        return self._settle(asked)

    def _find(self, session: bytes, cseq: int) -> Asked | None:
        return self._asked.get(cseq) if session == self._session else None

    def _settle(self, asked: Asked) -> RequestResult | None:
        own = asked.own
        if own is None:
            return None
        if sum(1 for digest in asked.digests.values() if digest == own.digest) < self._needed:
            return None
        self._conclude(own)
        return own

    def _conclude(self, own: RequestResult) -> None:
        del self._asked[own.cseq]
        self._opened = self._opened or own.cseq == 0
        while self._answered + 1 < self._next_cseq and self._answered + 1 not in self._asked:
            self._answered += 1
