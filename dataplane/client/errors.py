"""What a client of a cluster can meet."""

from collections.abc import Mapping
from typing import Any, ClassVar


class ClientError(Exception):
    """Base of everything this package raises."""


class SpecError(ClientError):
    """A node's specification cannot be used."""


class KeyProviderError(ClientError):
    """The keeper of the key-encryption key cannot help; says what to do. Nothing is damaged."""


class ArchiveUnavailableError(ClientError):
    """The store of the archive cannot be reached, or refuses; says why. Nothing is damaged."""


class ArchiveRefusedError(ArchiveUnavailableError):
    """The store of the archive does not allow this: its credentials or its rules forbid it."""


class ObjectMissingError(ClientError):
    """The archive has no object of that name."""


class ClusterUnreachableError(ClientError):
    """No node of the cluster answered."""


class ErasureWaitsError(ClientError):
    """An erasure is not over: what it removed still lies in segments that cannot be made anew now.

    The cluster goes on by itself; ask again later with the id of the `erasure`.
    """

    def __init__(self, erasure: str, segments_left: int) -> None:
        super().__init__(f"erasure {erasure} waits for {segments_left} segments to be made anew")
        self.erasure = erasure
        self.segments_left = segments_left


class OutboxError(ClientError):
    """An outbox cannot do what is asked of it."""


class OutboxFullError(OutboxError):
    """The outbox is at a limit: flush it, or retry and discard what was refused."""


class EvidenceError(ClientError):
    """A proof does not prove that a node lied; `code` is stable and says which check failed."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class ApiError(ClientError):
    """A node answered with a problem (RFC 9457); `code` is stable, `fields` has the rest.

    Each code has a class of its own in `refusals`. What to do is in `advice`, and tracebacks show
    it. `retry_after_s` is how long the node says to wait.
    """

    advice: ClassVar[str] = ""
    is_passing: ClassVar[bool] = False
    """It goes by itself: a client asks again, in a moment or at another node."""

    def __init__(self, status: int, code: str, detail: str, fields: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {code}: {detail}")
        if self.advice:
            self.add_note(self.advice)
        self.status = status
        self.code = code
        self.detail = detail
        self.fields = dict(fields)
        self.retry_after_s: int | None = None


class AnchorError(ClientError):
    """A trust anchor cannot be used."""


class ProofError(ClientError):
    """A proof does not prove what it should; `code` is stable and says which check failed."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class BackupError(ProofError):
    """A backup is not what it should be; `code` is stable and says which check failed."""
