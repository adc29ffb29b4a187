"""Who the members are: replicated state, changed by an order that the control plane signed.

A change executed at sequence s ends the epoch at s + `EPOCH_TAIL`. The protocol lets no replica
vote more than its pipeline beyond what it executed, so nobody voted beyond that end before knowing
of it, and afterwards everybody refuses to: exactly the old members decide up to there (consensus:
reconfiguration, the alpha rule).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from dataplane.documents import tables
from dataplane.documents.commands import Reconfigure
from dataplane.documents.errors import CONFLICT, FORBIDDEN, INVALID, NOT_READY, Refusal
from dataplane.documents.tables import AwaitedRow, Batch, MembershipRow, MetaRow
from dataplane.documents.types import Configuration, Genesis
from dataplane.security.signing import Ed25519Verifier
from dataplane.storage.ports import KeyValueStore
from dataplane.wire.errors import MalformedMessageError
from dataplane.wire.membership import Member, NextMembers, decode_next, members_fault, order_payload

EPOCH_TAIL: Final = 32
"""ALPHA: no replica's pipeline is longer."""
AWAITED_MS: Final = 600_000
"""So long a change that has to wait is prepared after it was last asked for."""


def with_past(known: Configuration, base: int, members: tuple[Member, ...]) -> Configuration:
    """Return an epoch with the one before, which began behind `base`; the first has none."""
    if not members:
        return known
    past = Configuration(known.epoch - 1, base, members, known.base, known.members)
    return replace(known, before=past)


class Membership:
    """The one row about members, in memory and in the store."""

    def __init__(self, store: KeyValueStore) -> None:
        stored = store.get(tables.MEMBERSHIP)
        self._row = MembershipRow() if stored is None else tables.decode_membership(stored)
        awaited = store.get(tables.AWAITED)
        self._awaited = AwaitedRow() if awaited is None else tables.decode_awaited(awaited)
        self._verifier = Ed25519Verifier()
        self.blocking: Callable[[tuple[int, ...]], int] = lambda _: 0
        """How many segments stand in the way of such members; set by who knows the segments."""

    @property
    def configuration(self) -> Configuration:
        """The epoch, its members, and its end once that is known."""
        row = self._row
        return with_past(
            Configuration(row.epoch, row.base, row.members, row.ends_at, row.next_members),
            row.past_base,
            row.past_members,
        )

    @property
    def cluster_id(self) -> bytes:
        """The id of the cluster."""
        return self._row.cluster_id

    def is_signed(self, payload: bytes, signature: bytes) -> bool:
        """Whether the control plane of this cluster signed something; without one nobody did."""
        key = self._row.admin_key
        return bool(key) and self._verifier.verify(key, payload, signature)

    def gateway_of(self, client: bytes) -> int | None:
        """Return the member whose gateway signs with this key, None when no member's does."""
        members = (*self._row.members, *self._row.next_members)
        return next((member.id for member in members if member.gateway_key == client), None)

    def following(self, now_ms: int) -> tuple[int, ...] | None:
        """Return the members that follow, or that an order asked for and waits; None without."""
        if self._row.ends_at is not None:
            return _ids(self._row.next_members)
        return self._awaited.members if self._awaited.until_ms > now_ms else None

    def write_genesis(self, batch: Batch, genesis: Genesis) -> None:
        """Begin with the members that the cluster was made with."""
        row = self._row
        row.cluster_id, row.admin_key = genesis.cluster_id, genesis.admin_key
        row.members = genesis.members
        row.highest_id = max((member.id for member in genesis.members), default=0)
        batch.put(tables.MEMBERSHIP, tables.encode_row(row))

    def reconfigure(self, batch: Batch, order: Reconfigure, meta: MetaRow) -> int:
        """Take an order; return the sequence at which the epoch ends.

        Raises:
            Refusal: `forbidden`, `conflict` or `invalid`; `not_ready` while cold documents have to
                be moved before, which is begun.
        """
        row, sequence, now_ms = self._row, meta.applied, meta.now_ms
        payload = order_payload(row.cluster_id, order.order)
        if not self.is_signed(payload, order.sig):
            raise Refusal(FORBIDDEN, "the order is not signed by the control plane of this cluster")
        try:
            following = decode_next(order.order)
        except MalformedMessageError as error:
            raise Refusal(INVALID, "not an order to change members") from error
        if row.ends_at is not None and following.members == row.next_members:
            return row.ends_at
        if (following.epoch, following.members) == (row.epoch, row.members):
            return row.base
        if row.ends_at is not None or following.epoch != row.epoch + 1:
            raise Refusal(CONFLICT, f"the cluster is in epoch {row.epoch}, or leaving it already")
        self._check(following)
        ids = _ids(following.members)
        waiting = self.blocking(ids)
        self._await(batch, ids if waiting else (), now_ms)
        if waiting:
            detail = (
                f"{waiting} segments of cold documents would have too few holders among these "
                "members; they are moved now, order it again"
            )
            raise Refusal(NOT_READY, detail, errors=(("/members", detail),))
        row.ends_at, row.next_members = sequence + EPOCH_TAIL, following.members
        row.highest_id = max(row.highest_id, following.members[-1].id)
        batch.put(tables.MEMBERSHIP, tables.encode_row(row))
        return row.ends_at

    def _await(self, batch: Batch, members: tuple[int, ...], now_ms: int) -> None:
        """Remember whom an order asked for that has to wait; nobody when it has not.

        Written with the refusal, unlike anything else: what moves the documents goes by it.
        """
        awaited = self._awaited
        if not members and not awaited.members:
            return
        is_known = awaited.members == members and awaited.until_ms - now_ms > AWAITED_MS // 2
        if is_known:
            return
        self._awaited = AwaitedRow(members, now_ms + AWAITED_MS if members else 0)
        if members:
            batch.put(tables.AWAITED, tables.encode_row(self._awaited))
        else:
            batch.delete(tables.AWAITED)

    def _check(self, following: NextMembers) -> None:
        row = self._row
        fault = members_fault(following.members)
        if fault is not None:
            raise Refusal(INVALID, fault)
        known = {member.id: member for member in row.members}
        for member in following.members:
            old = known.get(member.id)
            if old is None and member.id <= row.highest_id:
                raise Refusal(INVALID, f"the id {member.id} was used before")
            if old is not None and old.public_key != member.public_key:
                raise Refusal(INVALID, f"member {member.id} cannot change its key: replace it")

    def advance(self, batch: Batch, sequence: int) -> None:
        """Begin the next epoch behind the last sequence of this one."""
        row = self._row
        if row.ends_at != sequence:
            return
        row.past_base, row.past_members = row.base, row.members
        row.epoch, row.base, row.members = row.epoch + 1, sequence, row.next_members
        row.ends_at, row.next_members = None, ()
        batch.put(tables.MEMBERSHIP, tables.encode_row(row))


def _ids(members: tuple[Member, ...]) -> tuple[int, ...]:
    return tuple([member.id for member in members])
