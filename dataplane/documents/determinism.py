"""Execute one log of random commands and print the root of the state.

`python -m dataplane.documents.determinism --seed 1` must print the same line (but for `python`) on
every machine, under every version of Python, hash seed and order in which names entered their
objects: replicas that differ in any of these must not differ in what they computed.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from blake3 import blake3
from nacl import bindings

from dataplane.consensus.tree import hash_entry, hash_key
from dataplane.documents.archive_commands import ArchiveSalt, ArchiveSeen, Hold
from dataplane.documents.audit_commands import (
    AuditPut,
    CompliancePut,
    EraseBegin,
    EraseEnd,
    EraseStep,
)
from dataplane.documents.commands import (
    Barrier,
    Check,
    CollectionDrop,
    CollectionPut,
    Create,
    Delete,
    Get,
    IndexDrop,
    IndexPut,
    KeyPut,
    KeyRevoke,
    Maintain,
    Op,
    OpenSession,
    Patch,
    Put,
    QuotaPut,
    ReportCalls,
    Resolve,
    RestoreBegin,
    RestoreDiscard,
    RestoreEnd,
    RestoreRows,
    Step,
    Transact,
    Update,
    attribute,
    decode_result,
    encode_op,
    session_id,
)
from dataplane.documents.conflicts import POLICIES, POLICY_OPTION, SHREDDABLE_OPTION
from dataplane.documents.restoring import content_digest
from dataplane.documents.settings import ARCHIVE_AFTER, COLD_AFTER, TIERING_OPTION, TTL_OPTION
from dataplane.documents.state import StateMachine
from dataplane.documents.subjects import SUBJECT_OPTION, subject_hash
from dataplane.documents.tables import META, decode_meta
from dataplane.documents.types import Genesis
from dataplane.documents.values import pack_document
from dataplane.documents.whole_rows import whole_row
from dataplane.storage.engine import MemoryStore
from dataplane.storage.ports import KeyValueStore
from dataplane.wire.audit import LEVELS
from dataplane.wire.backups import CONTENT
from dataplane.wire.compliance import modes_payload
from dataplane.wire.membership import Member

START_MS: Final = 1_700_000_000_000
CLIENT: Final = b"c" * 32
SESSION: Final = session_id(CLIENT, b"nonce")
NAMES: Final = ("a", "b", "é", "e\u0301", "ß", "İ", "z", "n", "list", "0")
NUMBERS: Final = (0, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63), 0.1, -0.0, 1e308, 5e-324, 1.0, 1 / 3)
TEXTS: Final = ("", "a", "é", "e\u0301", "İstanbul", "\U0001f600", "\x00")
PATHS: Final = ("n", "a", "b", "list", "a.b", "list.0", "é", "_updated")
COLLECTIONS: Final = ("one", "two", "three", "four")
INDEX_NAMES: Final = ("first", "second", "third")
OPERATORS: Final = ("$set", "$unset", "$inc", "$mul", "$min", "$max", "$push", "$pull", "$addToSet")


CLUSTER_ID: Final = b"i" * 16
_ADMIN_KEY, _ADMIN_SECRET = bindings.crypto_sign_seed_keypair(b"s" * 32)
_MEMBER: Final = Member(1, "localhost", 1, 2, _ADMIN_KEY, CLIENT)
GENESIS: Final = Genesis(cluster_id=CLUSTER_ID, admin_key=_ADMIN_KEY, members=(_MEMBER,))
RESTORE_EVERY: Final = 40
RESTORED_ROWS: Final = 16
"""Of one part."""


class Stream:
    """Random numbers from a seed by hashing, so that no version of a library has a say."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._count = 0

    def below(self, limit: int) -> int:
        """Return a number from 0 to below the limit."""
        self._count += 1
        return int.from_bytes(blake3(self._seed + b"%d" % self._count).digest(8), "big") % limit

    def pick[T](self, items: Sequence[T]) -> T:
        """Return one of the items."""
        return items[self.below(len(items))]


class Sent(msgspec.Struct, frozen=True):
    """A request of the log."""

    cseq: int
    ack: int
    ops: tuple[bytes, ...]
    client: bytes = CLIENT
    session: bytes = SESSION


HOLD_EVERY: Final = 16
HOLD_MS: Final = 90_000


class LogMaker:
    """Draws commands; `order` shuffles in which order names enter objects, and nothing else."""

    def __init__(self, seed: int, order: int) -> None:
        self._draw = Stream(b"log%d" % seed)
        self._order = Stream(b"order%d" % order)
        self.conflicts: list[str] = []
        self.revision = 0
        """Of the compliance modes, as the state has it."""
        self.number = 0
        """Of the batch before."""

    def _object(self, members: list[tuple[str, Any]]) -> dict[str, Any]:
        left = sorted(dict(members).items())
        result: dict[str, Any] = {}
        while left:
            name, value = left.pop(self._order.below(len(left)))
            result[name] = value
        return result

    def _value(self, depth: int = 0) -> Any:
        match self._draw.below(8 if depth < 3 else 5):
            case 0:
                return self._draw.pick((None, True, False))
            case 1 | 2:
                return self._draw.pick(NUMBERS)
            case 3 | 4:
                return self._draw.pick(TEXTS)
            case 5:
                return [self._value(depth + 1) for _ in range(self._draw.below(4))]
            case _:
                return self._document(depth + 1)

    def _document(self, depth: int = 0) -> dict[str, Any]:
        size = self._draw.below(5)
        return self._object([(self._draw.pick(NAMES), self._value(depth)) for _ in range(size)])

    def _packed(self) -> bytes:
        document = self._document()
        if self._draw.below(2):
            # Longer than a stub, so that it can become cold.
            document = self._object([*document.items(), ("long", "x" * 60)])
        return pack_document(document)

    def _operators(self) -> bytes:
        names = [self._draw.pick(OPERATORS) for _ in range(1 + self._draw.below(2))]
        paths = [self._draw.pick(("n", "list", "a.b", "a")) for _ in names]
        chosen = [
            (name, {path: self._draw.pick(NUMBERS) if name in {"$inc", "$mul"} else self._value()})
            for name, path in zip(names, paths, strict=True)
        ]
        return pack_document(self._object(chosen))

    def _write(self) -> Op:
        draw = self._draw
        place = draw.pick(COLLECTIONS), f"d{draw.below(12)}"
        version = draw.pick((None, None, draw.below(6)))
        base = self._packed() if version is not None and draw.below(2) else None
        key = blake3(b"%d" % draw.below(4_000)).digest() if draw.below(2) else None
        stamp = "stamp" if key is not None and draw.below(2) else None
        match draw.below(6):
            case 0:
                return Create(*place, self._packed(), idempotency=key, stamp=stamp)
            case 1 | 2:
                put = Put(*place, self._packed(), version, idempotency=key)
                return msgspec.structs.replace(put, base=base, stamp=stamp)
            case 3:
                return Patch(*place, self._packed(), version, key, base, stamp)
            case 4:
                return Update(*place, self._operators(), version, key, base, stamp)
            case _:
                return Delete(*place, version, key, base, stamp)

    def _transaction(self) -> Op:
        draw = self._draw
        steps: list[Step] = []
        for _ in range(1 + draw.below(4)):
            write = self._write()
            if isinstance(write, Create | Put | Patch | Update | Delete):
                steps.append(msgspec.structs.replace(write, idempotency=None, stamp=None))
        place = draw.pick(COLLECTIONS), f"d{draw.below(12)}"
        read: Step = Get(*place) if draw.below(2) else Check(*place, exists=True)
        steps.insert(draw.below(len(steps)), read)
        key = blake3(b"%d" % draw.below(4_000)).digest() if draw.below(2) else None
        return Transact(tuple(steps), key)

    def _index(self) -> Op:
        draw = self._draw
        place = draw.pick(COLLECTIONS), draw.pick(INDEX_NAMES)
        match draw.below(8):
            case 0:
                return Maintain()
            case 1 | 2:
                return IndexDrop(*place)
            case 3:
                return IndexPut(*place, (("_updated", 1),), expire_after_s=draw.below(600))
            case _:
                paths = {draw.pick(PATHS): draw.pick((1, -1)) for _ in range(1 + draw.below(3))}
                partial = pack_document({draw.pick(NAMES): {"$gt": draw.pick(NUMBERS)}})
                chosen = draw.pick((None, partial))
                unique, sparse = draw.below(4) == 0, draw.below(3) == 0
                return IndexPut(*place, tuple(paths.items()), unique, sparse, chosen)

    def _other(self) -> Op:  # noqa: PLR0911 - one of many
        draw = self._draw
        collection = draw.pick(COLLECTIONS)
        match draw.below(17):
            case 13 | 14 | 15:
                return self._index()
            case 8 | 9 | 10 | 11:
                return self._transaction()
            case 0:
                return CollectionDrop(draw.pick(COLLECTIONS[2:]))
            case 12 | 16:
                return self._regulated()
            case 1 | 2:
                return self._collection(collection)
            case 3 if self.conflicts:
                conflict = draw.pick(self.conflicts)
                take = draw.pick(("mine", "theirs", "document"))
                return Resolve(conflict.partition(".")[0], conflict, take, self._packed())
            case 4:
                calls = [("read", draw.below(9)), ("write", draw.below(9)), ("query", 1)]
                return ReportCalls(draw.below(4), self._object(calls))
            case 5:
                return KeyPut(f"k{draw.below(5)}", bytes(32), "key", ("documents:read",))
            case 6:
                quota = QuotaPut(None, 1_000_000)
                return quota if draw.below(2) else KeyRevoke(f"k{draw.below(5)}")
            case _:
                return Get(collection, "d1") if draw.below(2) else Barrier()

    def _collection(self, name: str) -> Op:
        ttl = self._draw.pick((None, None, 300))
        cold = self._draw.pick((None, 20, 60))
        options: list[tuple[str, Any]] = [
            (POLICY_OPTION, self._draw.pick(POLICIES)),
            (SUBJECT_OPTION, "n"),
        ]
        if cold is not None:
            archive = [(ARCHIVE_AFTER, cold + 30)] if self._draw.below(2) else []
            tiering = self._object([(COLD_AFTER, cold), *archive])
            options.append((TIERING_OPTION, tiering))
        # Refused when a write made it: its key must be there from the first.
        options += [(SHREDDABLE_OPTION, True)] if name == "four" else [(TTL_OPTION, ttl)]
        return CollectionPut(name, pack_document(self._object(options)))

    def _regulated(self) -> Op:
        """Draw a setting of the audit log, or a part of an erasure."""
        draw = self._draw
        erasure = bytes([draw.below(4)]) * 16
        match draw.below(7):
            case 6:
                return self._modes()
            case 0 | 1:
                return AuditPut(draw.pick(LEVELS), records_max=draw.pick((None, 256)))
            case 2:
                person = subject_hash(erasure, draw.below(3) - 1)
                return EraseBegin(erasure, person, erasure)
            case 3:
                return EraseEnd(erasure)
            case _:
                ids = tuple(f"d{number}" for number in range(12))
                return EraseStep(erasure, draw.pick(COLLECTIONS), ids)

    def _modes(self) -> Op:
        """Draw which compliance modes are on; the control plane signs that they may be off."""
        draw = self._draw
        modes = draw.pick(((), (), ("gdpr",), ("gdpr", "sox")))
        payload = modes_payload(CLUSTER_ID, self.revision, modes)
        signature = bindings.crypto_sign(payload, _ADMIN_SECRET)[: bindings.crypto_sign_BYTES]
        return CompliancePut(modes, self.revision, signature if draw.below(4) else b"")

    def _seen(self) -> Op:
        """Draw what the member tells of the archive."""
        draw = self._draw
        if draw.below(8) == 0:
            return ArchiveSalt(draw.below(9), blake3(b"%d" % draw.below(9)).digest())
        numbers = range(max(0, self.number - 40), self.number)
        stored = tuple([number for number in numbers if draw.below(2)])
        return ArchiveSeen(stored, (draw.below(self.number + 1),))

    def operations(self) -> tuple[bytes, ...]:
        """Return the operations of one request."""
        count = 1 + self._draw.below(6)
        ops = [self._other() if self._draw.below(5) == 0 else self._write() for _ in range(count)]
        if self._draw.below(4) == 0:
            ops.append(Maintain())
        if self._draw.below(4) == 0:
            ops.append(self._seen())
        encoded = map(encode_op, ops)
        drawn = [attribute(op, "key") if self._draw.below(2) else op for op in encoded]
        held = [] if self.number % HOLD_EVERY else [encode_op(Hold(HOLD_MS))]
        return (*drawn, *held)


def restore_of(store: KeyValueStore, number: int, draw: Stream) -> list[Op]:
    """Return what restores a state into itself, or is given up, refused or left on the way."""
    stored = store.get(META)
    assert stored is not None, "there is a state"
    meta = decode_meta(stored)
    rows: list[tuple[bytes, bytes]] = []
    chains: dict[str, bytes] = {}
    for kind in CONTENT:
        stored_rows = sorted(store.iterate(kind), key=lambda row: hash_key(row[0]))
        # What is cold comes back with its body, as from a backup.
        found = [(key, whole_row(store.get, value)) for key, value in stored_rows]
        chain = bytes(32)
        for key, value in found:
            chain = blake3(chain + hash_entry(hash_key(key), value)).digest()
        chains[kind.decode()] = chain
        rows += found
    content = content_digest(chains)
    own = number.to_bytes(16, "big")
    source = (CLUSTER_ID.hex(), 0, number, bytes(32), START_MS)
    counters = len(rows), meta.next_collection, meta.version_floor
    parts = [tuple(rows[at : at + RESTORED_ROWS]) for at in range(0, len(rows), RESTORED_ROWS)]
    ops: list[Op] = [RestoreBegin(own, *source, content, *counters, replace=True)]
    ops += [Barrier()]
    ops += [RestoreRows(own, at, part) for at, part in enumerate(parts)]
    if draw.below(4) == 0:
        del ops[2 + draw.below(len(parts)) if parts else 1]
    end: Op = RestoreEnd(own) if draw.below(4) else RestoreDiscard(own)
    # Whatever could not be finished is given up; what was, cannot be any more.
    return [*ops, end, RestoreDiscard(own)]


class Run:
    """One log while it is executed."""

    def __init__(self, seed: int, order: int) -> None:
        self.store = MemoryStore()
        self.machine = StateMachine(self.store, GENESIS)
        self.maker, self._times = LogMaker(seed, order), Stream(b"time%d" % seed)
        self._now_ms = START_MS
        self.number = self.sealed = self.archived = self.held = 0
        self.results, self.statuses = blake3(), dict[str, int]()
        self.request((encode_op(OpenSession(b"nonce")),))

    def request(self, ops: tuple[bytes, ...]) -> None:
        """Execute one batch."""
        self.number += 1
        if self.number > 1:
            self._now_ms += self._times.below(20_000)
        sent = Sent(self.number - 1, max(0, self.number - 2), ops)
        (answer,) = self.machine.apply(self.number, self._now_ms, [sent]).requests
        self.results.update(answer.digest)
        for result in map(decode_result, answer.results):
            self.statuses[str(result.status)] = self.statuses.get(str(result.status), 0) + 1
            if result.conflict is not None:
                self.maker.conflicts.append(result.conflict)
        self.sealed += self.machine.tiers.segment(self.number) is not None
        self.archived += bool(self.machine.tiers.total("archive")[0])
        self.held += len(self.machine.tiers.holds.dead)
        self.maker.number = self.number
        self.maker.revision = self.machine.view.compliance.row.revision


def run_log(seed: int, batches: int, order: int) -> dict[str, Any]:
    """Execute a log of random commands; return what identifies its effect.

    Returns:
        `root` of the state, `results` (a digest of every answer), how many of each status, and how
        many restores came to their end, and `shredded` collections.
    """
    run, draw = Run(seed, order), Stream(b"restores%d" % seed)
    restored = 0
    while run.number < batches:
        run.request(run.maker.operations())
        if draw.below(RESTORE_EVERY) == 0:
            for op in restore_of(run.store, run.number, draw):
                run.request((encode_op(op),))
                if draw.below(4) == 0:
                    run.request(run.maker.operations())
            record = run.machine.view.restore()
            restored += record is not None and record.sequence > run.number - RESTORE_EVERY
    return {
        "seed": seed,
        "batches": batches,
        "root": run.machine.root().hex(),
        "results": run.results.hexdigest(),
        "statuses": dict(sorted(run.statuses.items())),
        "restored": restored,
        "shredded": len(list(run.machine.view.tombstones())),
        "revision": run.maker.revision,
        "sealed": run.sealed,
        "archived": run.archived,
        "held": run.held,
    }


def main(arguments: Sequence[str]) -> int:
    """Run one log and print a line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m dataplane.documents.determinism")
    parser.add_argument("--seed", type=int, default=1, help="which log")
    parser.add_argument("--batches", type=int, default=500, help="how long a log")
    parser.add_argument("--order", type=int, default=0, help="in which order names enter objects")
    options = parser.parse_args(arguments)
    outcome = run_log(options.seed, options.batches, options.order)
    outcome["python"] = sys.version.split()[0]
    sys.stdout.write(msgspec.json.encode(outcome).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
