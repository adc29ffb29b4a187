"""Changes of the members that a run draws, and who the members of each epoch are."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from random import Random

from dataplane.simulation.signatures import signer_of
from dataplane.wire.membership import Member
from dataplane.wire.quorum import faults_tolerated, quorum_size

SIZES = (1, 3, 4, 6, 7)
"""Two members are less available than one, and refused."""
ATTEMPTS_MAX = 20
PORT = 7_000


@dataclass(frozen=True, slots=True)
class Change:
    """The control plane wants other members from some time on."""

    name: str
    at_ms: int
    members: tuple[int, ...]


def member(replica: int) -> Member:
    """Return a node as the state keeps it."""
    vote, gateway = signer_of("vote", replica), signer_of("gateway", replica)
    return Member(replica, f"node-{replica}", PORT, PORT + 1, vote.public_key, gateway.public_key)


def is_borne(members: Collection[int], *, liars: Collection[int], mute: Collection[int]) -> bool:
    """Whether these members bear the liars, and go on without those that never vote."""
    n = len(members)
    lying, silent = set(members).intersection(liars), set(members).intersection(mute)
    return len(lying) <= faults_tolerated(n) and len(silent) <= n - quorum_size(n)


def draw_epochs(
    rng: Random, first: Sequence[int], *, liars: Collection[int], mute: Collection[int], count: int
) -> list[tuple[int, ...]]:
    """Draw the members of so many further epochs: more, fewer, or one replaced.

    Ids rise and are never used again. A node of no use is the first to go.
    """
    epochs: list[tuple[int, ...]] = []
    members, following = tuple(first), max(first) + 1
    for _ in range(ATTEMPTS_MAX):
        if len(epochs) == count:
            break
        kept, added = _draw(rng, members, [replica for replica in members if replica in mute])
        wanted = (*sorted(kept), *range(following, following + added))
        if is_borne(wanted, liars=liars, mute=mute):
            epochs.append(wanted)
            members, following = wanted, following + added
    return epochs


def _draw(rng: Random, members: tuple[int, ...], useless: list[int]) -> tuple[list[int], int]:
    """Return who stays, and how many come."""
    size = rng.choice(SIZES)
    if size == len(members) or rng.randint(0, 2) == 0:
        leaver = rng.choice(useless or members)
        return [replica for replica in members if replica != leaver], 1
    if size > len(members):
        return list(members), size - len(members)
    others = [replica for replica in members if replica not in useless]
    rng.shuffle(others)
    return [*others, *useless][:size], 0
