"""What of a peer's frames may reach the core: decoded, of this epoch, admitted and verified."""

from dataplane.consensus.config import ReplicaConfig, Verifier
from dataplane.consensus.messages import Accusation, AnyMessage, decode_message
from dataplane.consensus.replica import Replica
from dataplane.consensus.verification import is_of_another_epoch, verify_message
from dataplane.replication.accountability import Accountability
from dataplane.replication.notices import Notices
from dataplane.wire.errors import MalformedMessageError


class Intake:
    """Refuses, and counts against its sender, what should not have been sent."""

    def __init__(
        self, verifier: Verifier, accountability: Accountability, notices: Notices
    ) -> None:
        self._verifier = verifier
        self._accountability = accountability
        self._notices = notices

    def read(
        self, sender: int, frame: bytes, *, replica: Replica, config: ReplicaConfig, now_ms: int
    ) -> AnyMessage | None:
        """Return a frame's message, None when nobody has a use for it."""
        try:
            message = decode_message(frame)
        except MalformedMessageError:
            self._notices.reject(sender, "frame", "malformed")
            return None
        if replica.is_surplus(message) or is_of_another_epoch(message, config.epoch):
            return None
        if isinstance(message, Accusation) and not self._accountability.admits(
            sender, message, now_ms
        ):
            self._notices.reject(sender, "Accusation", "too_many")
            return None
        if not verify_message(message, sender, config, self._verifier):
            self._notices.reject(sender, type(message).__name__, "unverified")
            return None
        return message
