"""The transcript of a run: hashed always, printed when asked for."""

from collections.abc import Callable

from blake3 import blake3

from dataplane.consensus.messages import (
    AnyMessage,
    Checkpoint,
    CheckpointCertificate,
    Commit,
    Committed,
    FetchCommitted,
    Forward,
    Prepare,
    PrePrepare,
    Replies,
    Status,
)


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

    @property
    def digest(self) -> str:
        """The hash of all lines so far."""
        return self._hash.digest(8).hex()


def describe(message: AnyMessage) -> str:
    """Return a message in a few words."""
    said = ""
    match message:
        case PrePrepare() | Prepare() | Commit():
            said = f"v{message.view} s{message.sequence} {message.digest[:3].hex()}"
        case Checkpoint() | CheckpointCertificate():
            said = f"s{message.sequence} {message.root[:3].hex()}"
        case Forward():
            said = ",".join(str(request.cseq) for request in message.requests)
        case Replies():
            said = ",".join(str(reply.cseq) for reply in message.replies)
        case Status():
            said = f"h{message.stable} e{message.executed}"
        case FetchCommitted():
            said = f"{message.first}-{message.last}"
        case Committed():
            said = ",".join(str(entry.certificate.sequence) for entry in message.entries)
    return f"{type(message).__name__} {said}"
