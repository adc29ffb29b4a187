"""Who holds the segments: how many are with whom, and whether others may become the members.

A segment names the members that keep its fragments. When the members change it is made anew with
them, which needs `k` of those that hold it now: the change must leave that many, and some to spare.
"""

from collections.abc import Iterable

from dataplane.documents.membership import Membership
from dataplane.documents.tables import MetaRow
from dataplane.storage.erasure import needed
from dataplane.wire.quorum import faults_tolerated

type Holders = tuple[tuple[int, ...], int]
"""The members that hold a segment, and how many of them give it back."""


def is_spared(holders: Holders, following: Iterable[int]) -> bool:
    """Whether a segment can still be read when these are the members and f of them fail or lie.

    More than all who hold it cannot be asked for.
    """
    members, k = holders
    present = tuple(following)
    staying = len(set(members).intersection(present))
    return staying >= min(k + faults_tolerated(len(present)), len(members))


class Placement:
    """How many segments are with whom, of those that are with members."""

    def __init__(self, meta: MetaRow, membership: Membership) -> None:
        self._meta = meta
        self._membership = membership
        self._counts: dict[Holders, int] = {}

    def count(self, holders: Holders, segments: int) -> None:
        """Count segments that came to be with these members, or went."""
        left = self._counts.get(holders, 0) + segments
        assert left >= 0, "what goes was there"
        self._counts[holders] = left
        if not left:
            del self._counts[holders]

    @property
    def present(self) -> Holders:
        """With whom segments are made now."""
        members = tuple([member.id for member in self._membership.configuration.members])
        return members, needed(max(1, len(members)))

    @property
    def total(self) -> int:
        """How many segments are with members."""
        return sum(self._counts.values())

    def held_by(self, member: int) -> int:
        """Return of how many segments a member has a fragment to keep."""
        return sum([count for (members, _), count in self._counts.items() if member in members])

    def blocking(self, following: Iterable[int]) -> int:
        """Return how many segments stand in the way of a change to these members."""
        present = tuple(following)
        return sum(
            [count for holders, count in self._counts.items() if not is_spared(holders, present)]
        )

    @property
    def waiting(self) -> int:
        """Return how many segments the change that is asked for waits for; 0 without one."""
        following = self._membership.following(self._meta.now_ms)
        return 0 if following is None else self.blocking(following)

    @property
    def misplaced(self) -> dict[Holders, int]:
        """With whom segments are that are to be made anew, and how many."""
        present, following = self.present, self._membership.following(self._meta.now_ms)
        return {
            holders: count
            for holders, count in self._counts.items()
            if holders != present or (following is not None and not is_spared(holders, following))
        }

    def is_lasting(self, now_ms: int) -> bool:
        """Whether a segment made now would not stand in the way of the change that comes."""
        following = self._membership.following(now_ms)
        return following is None or is_spared(self.present, following)
