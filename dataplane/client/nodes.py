"""Where a client finds its cluster: what it was told by its caller, and what it learned since."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from dataplane.client.anchors import TrustAnchor
from dataplane.client.errors import ClusterUnreachableError
from dataplane.client.quorum import faults_tolerated
from dataplane.ports import Clock, SystemClock

SEQUENCE_HEADER: Final = "aerolith-sequence"
EPOCH_HEADER: Final = "aerolith-epoch"
LEARN_PAUSE_MS: Final = 500
"""Between two times of asking who the members are, whatever nodes say meanwhile; it doubles with
each time that leaves something open (too few told the same, a member is away), up to:"""
LEARN_PAUSE_MS_MAX: Final = 60_000
_DOUBLINGS_MAX: Final = 7


def number_in(headers: Mapping[str, str], name: str) -> int | None:
    """Return the number in a header, None when there is none."""
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def votes_needed(voters: int) -> int:
    """Return how many nodes must tell the same before a client without an anchor believes it.

    f+1 of those it knows. What it knows may be a part of a larger cluster, so one word is enough
    only for a client that knows a single node and believes it everything anyway.
    """
    return max(faults_tolerated(voters) + 1, min(2, voters))


@dataclass(slots=True)
class _Heard:
    """What gives a reason to ask who the members are."""

    epoch: int | None = None
    lost: bool = False


@dataclass(slots=True)
class _Members:
    """The members as far as they are believed; by id where they proved who they are."""

    epoch: int | None = None
    urls: tuple[str, ...] = ()
    proven: dict[int, str] = field(default_factory=dict)


class Nodes:
    """The nodes of a cluster, and the newest position in the log that they told.

    The token goes to the seeds, which the caller gave, and to members that were believed; to no
    address that was merely told. Seeds that are no members are asked last.
    """

    def __init__(
        self,
        urls: Sequence[str],
        token: str,
        *,
        anchor: TrustAnchor | None = None,
        follow: bool = True,
        clock: Clock | None = None,
    ) -> None:
        if isinstance(urls, str):
            urls = (urls,)  # It is a sequence of texts too, and its letters are no addresses.
        if not urls:
            raise ClusterUnreachableError("a client needs the URL of at least one node")
        self.seeds = tuple(dict.fromkeys(url.rstrip("/") for url in urls))
        self.anchor = anchor
        """Of the newest epoch that was proven; None: addresses are believed by votes."""
        self.sequence = 0
        self.headers = {"Authorization": f"Bearer {token}"}
        # Nodes name plain addresses: who asked for TLS does not get less.
        self._follows = follow and all(url.startswith("http://") for url in self.seeds)
        self._clock = clock or SystemClock()
        self._first = self.seeds[0]
        self._heard = self._reason = _Heard()
        self._asked_ms: int | None = None
        self._in_vain = 0
        self._members = _Members()

    @property
    def members(self) -> tuple[str, ...]:
        """Where the members are, as far as that was believed."""
        return self._members.urls

    @property
    def urls(self) -> tuple[str, ...]:
        """Whom to ask, in this order: who answered last, the members, then the other seeds."""
        group = self.members or self.seeds
        at = group.index(self._first) if self._first in group else 0
        head = (self._first,) if self._first in self.seeds else ()
        return tuple(dict.fromkeys((*head, *group[at:], *group[:at], *self.seeds)))

    @property
    def electorates(self) -> tuple[tuple[str, ...], ...]:
        """Who has a say in who the members are: the members, and the seeds if all are silent."""
        return (self.members, self.seeds) if self.members else (self.seeds,)

    # --- What answers say -----------------------------------------------------------------------

    def answered(self, headers: Mapping[str, str]) -> None:
        """Take the position and the epoch of an answer."""
        self.sequence = max(self.sequence, number_in(headers, SEQUENCE_HEADER) or 0)
        epoch = number_in(headers, EPOCH_HEADER)
        if epoch is not None:
            self._heard.epoch = max(epoch, self._heard.epoch or 0)

    def served(self, url: str) -> None:
        """Take that a node did what it was asked; it is asked first from now on."""
        self._first = url

    def left(self, url: str) -> None:
        """Take that a node failed in the midst of an answer: another one is asked first."""
        self.lost()
        self._first = next((other for other in self.urls if other != url), url)

    def lost(self) -> None:
        """Take that a node did not answer."""
        self._heard.lost = True

    def failed(self) -> None:
        """Take that no node did what it was asked: no pause is to keep this client from others."""
        self._heard.lost, self._in_vain = True, 0

    # --- Who the members are --------------------------------------------------------------------

    def wants_members(self) -> bool:
        """Whether it is time to ask who the members are; the asking is taken as begun."""
        heard, now_ms = self._heard, self._clock.now_ms()
        if not self._follows or heard.epoch is None:
            return False
        is_new = self._members.epoch is None or heard.epoch > self._members.epoch
        if not (is_new or heard.lost or not self.is_complete):
            return False
        pause_ms = min(LEARN_PAUSE_MS << self._in_vain, LEARN_PAUSE_MS_MAX)
        if self._asked_ms is not None and now_ms - self._asked_ms < pause_ms:
            return False
        # What one node said gives no reason for ever: it must be heard again.
        self._reason, self._heard, self._asked_ms = heard, _Heard(), now_ms
        return True

    @property
    def is_complete(self) -> bool:
        """Whether every validator of the anchor is known by its address."""
        return self.anchor is None or len(self._members.proven) == len(self.anchor.validators)

    def is_older(self, epoch: int) -> bool:
        """Whether the members of a later epoch than this are believed already."""
        return self._members.epoch is not None and epoch < self._members.epoch

    def believe(self, epoch: int, urls: Sequence[str]) -> None:
        """Take the members of an epoch, as enough nodes told them."""
        assert not self.is_older(epoch)
        self._members.epoch, self._members.urls = epoch, tuple(urls)

    def followed(self, anchor: TrustAnchor) -> None:
        """Take the validators of a proven epoch; those that left are forgotten."""
        self.anchor = anchor
        ids = {validator.id for validator in anchor.validators}
        proven = {number: url for number, url in self._members.proven.items() if number in ids}
        urls = tuple(proven[number] for number in sorted(proven))
        self._members = _Members(anchor.epoch, urls, proven)

    def prove(self, number: int, url: str) -> None:
        """Take that a validator showed that it is at an address."""
        assert self.anchor is not None
        assert self.anchor.public_key(number) is not None
        self._members.proven[number] = url
        self.followed(self.anchor)

    def is_proven(self, number: int, url: str) -> bool:
        """Whether a validator showed that it is at an address."""
        return self._members.proven.get(number) == url

    def settle(self) -> None:
        """Take that the asking ended; ask no node first that is known to be no member any more."""
        epoch, wanted = self._members.epoch, self._reason.epoch or 0
        is_done = epoch is not None and epoch >= wanted and self.is_complete
        self._in_vain = 0 if is_done else min(self._in_vain + 1, _DOUBLINGS_MAX)
        if self._first in self.members:
            return
        if self._first not in self.seeds or (self.members and self.is_complete):
            self._first = (*self.members, *self.seeds)[0]
