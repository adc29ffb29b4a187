"""Change feeds: what happened to documents, in order, to whoever may read them.

Transport-free: a gateway opens a feed with `Feeds.open` and iterates over it. Nothing is kept for a
reader but its place in the rows that the state machine writes (`documents/changes.py`), so a
slow one costs the node nothing and slows nobody; one that falls behind the rows, or further behind
than its gateway allows, is told its last place.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, override

import msgspec

from dataplane.documents.changes import ERASED, PlacedRow
from dataplane.documents.rendering import timestamp
from dataplane.documents.tables import decode_document_row
from dataplane.documents.values import SYSTEM_COLLECTIONS, check_readable_name, unpack_document
from dataplane.documents.view import StateView
from dataplane.gateways.auth import Caller, renew
from dataplane.gateways.calls import timestamp_ms
from dataplane.gateways.errors import Problem
from dataplane.query.matching import Matcher

FEEDS_MAX: Final = 512
FEEDS_PER_KEY_MAX: Final = 32
COLLECTIONS_MAX: Final = 64
READS_KEPT_MAX: Final = 32
HEARTBEAT_S: Final = 15.0
SLICE_BYTES: Final = 256 * 1024
_PLACE_DIGITS_MAX: Final = 18
_encode: Final = msgspec.json.Encoder().encode


class Place(NamedTuple):
    """A place in the feed: behind a change, or (without a position) behind a whole batch."""

    sequence: int
    position: int | None = None

    @override
    def __str__(self) -> str:
        """Return how clients name it."""
        return str(self.sequence) if self.position is None else f"{self.sequence}-{self.position}"


def parse_place(text: str, pointer: str = "/after") -> Place:
    """Return the place that a client names, as an event named it.

    Raises:
        Problem: `invalid`.
    """
    parts = text.split("-")
    sound = all(part.isascii() and part.isdigit() for part in parts)
    if not sound or len(parts) > 2 or max(map(len, parts)) > _PLACE_DIGITS_MAX:
        fault = {"pointer": pointer, "detail": "a sequence, or the id of an event"}
        raise Problem("invalid", f"{pointer[1:]} names a place in the feed", {"errors": [fault]})
    return Place(*map(int, parts))


@dataclass(slots=True)
class Event:
    """One change of one document; the same on every node."""

    place: Place
    at_ms: int
    operation: str
    """insert, replace, update, delete, or drop (of a collection, with all it held)."""
    collection: str
    id: str
    version: int
    row: bytes | None
    """The document as stored, unless it is gone."""
    transaction: tuple[int, int] | None
    """(position of the first, count) of the changes of its transaction."""
    _rendered: dict[bool, bytes] = field(default_factory=dict)

    def body(self, *, with_document: bool = True) -> dict[str, Any]:
        """Return the event as clients see it."""
        body: dict[str, Any] = {
            "sequence": self.place.sequence,
            "position": self.place.position,
            "time": timestamp_ms(self.at_ms),
            "operation": self.operation,
            "collection": self.collection,
        }
        if self.operation != "drop":
            body |= {"id": self.id, "version": self.version}
        if self.transaction is not None:
            body["transaction"] = dict(zip(("first", "count"), self.transaction, strict=True))
        if with_document and self.row is not None:
            record = decode_document_row(self.id, self.row)
            body["document"] = {
                "_id": record.id,
                "_version": record.version,
                "_created": timestamp(record.created_us),
                "_updated": timestamp(record.updated_us),
                **unpack_document(record.body),
            }
        return body

    def rendered(self, *, with_document: bool = True) -> bytes:
        """Return the JSON of the body; all feeds share it."""
        known = self._rendered.get(with_document)
        if known is None:
            known = self._rendered[with_document] = _encode(self.body(with_document=with_document))
        return known


class Delivery(NamedTuple):
    """What a feed yields: events of one batch that belong together, or none as a sign of life."""

    place: Place
    """Where to resume when all of this has been taken."""
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedRequest:
    """What somebody wants to be told."""

    after: Place | None = None
    """None: what happens from now on."""
    collections: tuple[str, ...] = ()
    """Empty: all that the key covers."""
    filter: Mapping[str, Any] | None = None
    """Of the documents; what is gone has nothing to be filtered by and is always told."""
    behind_max: int | None = None
    """How many sequences a reader that was up to date may fall behind."""


class Feeds:
    """All open feeds of a node."""

    def __init__(
        self,
        view: StateView,
        *,
        is_sound: Callable[[], bool],
        now_ms: Callable[[], int],
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self.view = view
        self.is_sound, self.now_ms = is_sound, now_ms
        self.heartbeat_s = heartbeat_s
        self.is_closed = False
        self._open: dict[Feed, str] = {}
        self._read: dict[Place, list[list[Event]]] = {}
        view.watchers.append(self.wake)

    @property
    def count(self) -> int:
        """How many feeds are open."""
        return len(self._open)

    def open(self, caller: Caller, request: FeedRequest) -> "Feed":
        """Return a feed; it counts from `async with` on.

        Raises:
            Problem: `forbidden`, `invalid`, `rate_limited`, `not_ready`, or `resync_required` when
                what happened `after` is not known here any more.
            QueryError: The filter is none.
            Refusal: A collection cannot have this name.
        """
        if len(request.collections) > COLLECTIONS_MAX:
            raise Problem("invalid", f"a feed names at most {COLLECTIONS_MAX} collections")
        if len(self._open) >= FEEDS_MAX:
            raise Problem("rate_limited", "too many feeds are open at this node")
        if list(self._open.values()).count(caller.key.id) >= FEEDS_PER_KEY_MAX:
            raise Problem("rate_limited", f"a key has at most {FEEDS_PER_KEY_MAX} feeds at a node")
        for name in request.collections:
            check_readable_name(name)
        feed = Feed(self, caller, request)
        feed.check()
        for name in request.collections:
            caller.require("documents:read", name)
            if name in SYSTEM_COLLECTIONS:
                caller.require("cluster:admin")
        return feed

    def enter(self, feed: "Feed", key_id: str) -> None:
        """Count a feed as open."""
        self._open[feed] = key_id

    def leave(self, feed: "Feed") -> None:
        """Count a feed as closed."""
        self._open.pop(feed, None)

    def wake(self) -> None:
        """Let all feeds look again."""
        self._read.clear()
        for feed in self._open:
            feed.woken.set()

    def close(self) -> None:
        """End all feeds: the node stops."""
        self.is_closed = True
        self.wake()

    def read(self, place: Place) -> list[list[Event]]:
        """Return some events behind a place, in groups that belong together.

        Feeds that are up to date ask for the same place after each batch.
        """
        known = self._read.get(place)
        if known is None:
            rows = self.view.changes.read(*place, bytes_max=SLICE_BYTES)
            if len(self._read) >= READS_KEPT_MAX:
                self._read.clear()
            known = self._read[place] = [_events(row, place) for row in rows]
        return known


class Feed:
    """One reader's way through what happened; yields as long as its key allows it."""

    def __init__(self, feeds: Feeds, caller: Caller, request: FeedRequest) -> None:
        self._feeds, self._caller, self._request = feeds, caller, request
        filter_ = request.filter
        self._matcher = None if filter_ is None else Matcher(filter_, "/filter")
        self.place = request.after or Place(feeds.view.stats().applied)
        """Behind what was yielded last."""
        self._groups: deque[list[Event]] = deque()
        self._was_current = False
        self.woken = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._feeds.enter(self, self._caller.key.id)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._feeds.leave(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        """Return what happened next, or a sign of life after `heartbeat_s` without anything.

        Raises:
            Problem: `unauthenticated` or `forbidden` (the key lost the right), `not_ready` (the
                node stops, or repairs its state), `overrun` (the reader is too slow),
                `resync_required` (what follows its place is not known here any more).
            QueryTooCostlyError: A document is too costly for the filter.
        """
        while True:
            # Others get their turn however much there is to read.
            await asyncio.sleep(0)
            self.check()
            if self._groups or self._look():
                events = self._groups.popleft()
                self.place = events[-1].place
                wanted = tuple([event for event in events if self._wants(event)])
                if wanted:
                    return Delivery(self.place, wanted)
                continue
            self._was_current = True
            self.woken.clear()
            try:
                async with asyncio.timeout(self._feeds.heartbeat_s):
                    await self.woken.wait()
            except TimeoutError:
                return Delivery(self.place, ())

    def check(self) -> None:
        """Refuse to go on without the right to, or when there is nothing to go on from."""
        feeds, view, place = self._feeds, self._feeds.view, self.place
        if feeds.is_closed:
            raise Problem("not_ready", "the node is stopping")
        if not feeds.is_sound():
            raise Problem("not_ready", "this node's state is being repaired; ask another")
        self._caller = renew(self._caller, view, feeds.now_ms())
        self._caller.require("documents:read")
        fields = {"last": str(place), "earliest": view.changes.floor}
        if place.sequence < view.changes.floor:
            detail = "what happened after this place is not known here; read anew, or ask another"
            raise Problem("resync_required", detail, fields)
        behind = view.stats().applied - place.sequence
        behind_max = self._request.behind_max
        if self._was_current and behind_max is not None and behind > behind_max:
            raise Problem("overrun", "the reader is too slow", fields)

    def _look(self) -> bool:
        """Read on from here; say whether there was anything, wanted or not."""
        self._groups.extend(self._feeds.read(self.place))
        applied = self._feeds.view.stats().applied
        if not self._groups and applied > self.place.sequence:
            self.place = Place(applied)
        return bool(self._groups)

    def _wants(self, event: Event) -> bool:
        name, names = event.collection, self._request.collections
        if names:
            if name not in names:
                return False
        elif name in SYSTEM_COLLECTIONS:
            return False
        if not self._caller.covers(name):
            return False
        if name in SYSTEM_COLLECTIONS and "cluster:admin" not in self._caller.key.scopes:
            return False
        if self._matcher is None or event.row is None:
            return True
        return self._matcher.fits(event.id, event.row)


def _events(placed: PlacedRow, behind: Place) -> list[Event]:
    """Return the changes of a row that lie behind a place."""
    sequence, first, row = placed
    of: dict[int, tuple[int, int]] = {
        position: group for group in row.groups for position in range(group[0], group[0] + group[1])
    }
    known = behind.position if sequence == behind.sequence else None
    return [
        Event(
            Place(sequence, position),
            row.at_ms,
            "delete" if change[0] == ERASED else change[0],
            *change[1:],
            transaction=of.get(position),
        )
        for position, change in enumerate(row.changes, first)
        if known is None or position > known
    ]
