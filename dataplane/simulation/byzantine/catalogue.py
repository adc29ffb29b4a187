"""Behaviours by the names that options draw."""

from dataplane.consensus.config import Signer
from dataplane.simulation.byzantine.behaviour import Behaviour, Conspiracy
from dataplane.simulation.byzantine.delivery import (
    FalseCheckpoint,
    Forger,
    LyingStatus,
    Selective,
    Silent,
    StaleReplay,
)
from dataplane.simulation.byzantine.transfer import BadParts, NeverFinishes, StaleState
from dataplane.simulation.byzantine.views import VIEW_LIARS
from dataplane.simulation.byzantine.votes import (
    DoubleVoter,
    EquivocatingPrimary,
    OpenEquivocator,
    UnseenDigest,
)

_BEHAVIOURS: dict[str, type[Behaviour]] = {
    "silent": Silent,
    "equivocating_primary": EquivocatingPrimary,
    "double_voter": DoubleVoter,
    "unseen_digest": UnseenDigest,
    "stale_replay": StaleReplay,
    "selective": Selective,
    "false_checkpoint": FalseCheckpoint,
    "lying_status": LyingStatus,
    "forger": Forger,
    "open_equivocator": OpenEquivocator,
    "bad_parts": BadParts,
    "stale_state": StaleState,
    "never_finishes": NeverFinishes,
    **VIEW_LIARS,
}


BEHAVIOUR_NAMES = tuple(_BEHAVIOURS)


def behaviour_of(name: str, signer: Signer, conspiracy: Conspiracy) -> Behaviour:
    """Return a new liar."""
    return _BEHAVIOURS[name](signer, conspiracy)
