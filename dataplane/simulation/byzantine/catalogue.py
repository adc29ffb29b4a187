"""Behaviours by the names that options draw."""

from dataplane.simulation.byzantine.behaviour import Behaviour, Conspiracy
from dataplane.simulation.byzantine.delivery import (
    FalseCheckpoint,
    Forger,
    LyingStatus,
    Selective,
    Silent,
    StaleReplay,
)
from dataplane.simulation.byzantine.votes import (
    DoubleVoter,
    EquivocatingPrimary,
    OpenEquivocator,
    UnseenDigest,
)
from dataplane.simulation.signatures import FakeSigner

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
}


def behaviour_of(name: str, signer: FakeSigner, conspiracy: Conspiracy) -> Behaviour:
    """Return a new liar."""
    return _BEHAVIOURS[name](signer, conspiracy)
