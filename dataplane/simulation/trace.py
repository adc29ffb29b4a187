"""The transcript of a run: hashed always, printed when asked for."""

from collections.abc import Callable

from blake3 import blake3

from dataplane.consensus.messages import (
    NULL_DIGEST,
    Accusation,
    AnyMessage,
    BatchBody,
    BatchesGone,
    Checkpoint,
    CheckpointCertificate,
    CheckpointGone,
    Commit,
    Committed,
    FetchBatch,
    FetchCommitted,
    FetchNodes,
    FetchRows,
    Forward,
    Heartbeat,
    NewView,
    Prepare,
    PrePrepare,
    Proposed,
    Replies,
    Status,
    Suspect,
    TimeoutCertificate,
    TreeNodes,
    TreeRows,
    ViewChange,
)
from dataplane.replication.peer_messages import (
    FragmentAnswer,
    FragmentAsk,
    IndexAnswer,
    IndexAsk,
)
from dataplane.simulation.schedule import Delivery

type Aside = IndexAsk | IndexAnswer | FragmentAsk | FragmentAnswer
"""What travels beside the protocol."""


class Trace:
    """Lines of a run in order."""

    def __init__(self, sink: Callable[[str], None] | None = None) -> None:
        self._hash = blake3()
        self._sink = sink
        self.line_count = 0

    def line(self, now_ms: int, text: str) -> None:
        """Add a line."""
        full = f"{now_ms:>6} {text}"
        self._hash.update(full.encode() + b"\n")
        self.line_count += 1
        if self._sink is not None:
            self._sink(full)

    def delivery(
        self,
        now_ms: int,
        way: Delivery,
        message: AnyMessage | Aside,
        payload: bytes,
    ) -> None:
        """Add the arrival of a message: hashed as it is, put into words only when printed."""
        source, target, index = way
        self._hash.update(b"%d %d>%d:%d " % (now_ms, source, target, index))
        self._hash.update(payload)
        self.line_count += 1
        if self._sink is not None:
            self._sink(f"{now_ms:>6} {source}>{target}:{index} {describe(message)}")

    @property
    def digest(self) -> str:
        """The hash of all lines so far."""
        return self._hash.digest(8).hex()


def _describe_transfer(message: AnyMessage) -> str:
    said = ""
    match message:
        case BatchesGone():
            said = f"s{message.first}"
        case CheckpointGone():
            said = f"s{message.sequence}"
        case FetchNodes(paths=parts) | FetchRows(keys=parts):
            said = f"s{message.sequence} x{len(parts)}"
        case TreeNodes(nodes=parts) | TreeRows(rows=parts):
            said = f"s{message.sequence} x{len(parts)}"
        case _:
            pass
    return said


def describe(message: AnyMessage | Aside) -> str:
    """Return a message in a few words."""
    if isinstance(message, IndexAsk):
        return f"IndexAsk n{message.number} >=s{message.at_least} x{len(message.places)}"
    if isinstance(message, IndexAnswer):
        return f"IndexAnswer n{message.number} promised s{message.promised} s{message.executed}"
    if isinstance(message, FragmentAsk):
        return f"FragmentAsk n{message.number} s{message.segment}"
    if isinstance(message, FragmentAnswer):
        given = "none" if message.fragment is None else f"{len(message.fragment)} bytes"
        return f"FragmentAnswer n{message.number} {'later' if message.later else given}"
    return f"{type(message).__name__} {_describe_views(message) or _describe_rest(message)}"


def _short(digest: bytes) -> str:
    return "null" if digest == NULL_DIGEST else digest[:3].hex()


def _describe_views(message: AnyMessage) -> str:
    """Describe accusations and what moves views: sequence, view and digest of what is carried."""
    match message:
        case Heartbeat() | Suspect() | TimeoutCertificate():
            return f"v{message.view}"
        case ViewChange():
            stable = 0 if message.checkpoint is None else message.checkpoint.sequence
            proofs = " ".join(
                f"s{proof.sequence}@v{proof.view}:{_short(proof.digest)}"
                for proof in message.prepared
            )
            return f"v{message.view} h{stable} prepared [{proofs}]"
        case NewView():
            carried = " ".join(f"s{p.sequence}:{_short(p.digest)}" for p in message.proposals)
            backers = ",".join(str(change.replica) for change in message.changes)
            return f"v{message.view} by {backers} carries [{carried}]"
        case Accusation():
            return ",".join(f"{p.replica} {p.kind} s{p.sequence}" for p in message.proofs)
        case _:
            return ""


def _describe_rest(message: AnyMessage) -> str:
    said = ""
    match message:
        case PrePrepare() | Proposed() | Prepare() | Commit():
            said = f"v{message.view} s{message.sequence} {_short(message.digest)}"
        case Checkpoint() | CheckpointCertificate():
            said = f"s{message.sequence} {message.root[:3].hex()}"
        case Forward():
            said = ",".join(str(request.cseq) for request in message.requests)
        case Replies():
            said = ",".join(str(reply.cseq) for reply in message.replies)
        case Status():
            waits = "" if message.is_active else " waits"
            said = f"v{message.view}{waits} h{message.stable} e{message.executed}"
        case FetchBatch():
            said = f"s{message.sequence} {message.digest[:3].hex()}"
        case BatchBody():
            said = f"s{message.sequence}"
        case FetchCommitted():
            said = f"{message.first}-{message.last}"
        case Committed():
            said = ",".join(str(entry.certificate.sequence) for entry in message.entries)
        case _:
            said = _describe_transfer(message)
    return said
