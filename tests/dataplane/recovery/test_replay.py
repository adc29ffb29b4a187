"""Replaying archived batches tells the state of a run that stopped there, and nothing else."""

import io
import random
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.client.anchors import TrustAnchor
from dataplane.client.archives import (
    ArchiveDirectory,
    Batches,
    Deciders,
    pack_segment,
    unpack_segment,
)
from dataplane.client.backups import BackupReader, weigh_backup
from dataplane.client.errors import BackupError, ProofError
from dataplane.client.taking import write_backup
from dataplane.consensus.messages import (
    Batch,
    CommitCertificate,
    CommittedEntry,
    Request,
    digest_of,
    encode_batch,
    vote_payload,
)
from dataplane.documents.commands import (
    CollectionDrop,
    CollectionPut,
    Delete,
    Maintain,
    Patch,
    Put,
    session_id,
)
from dataplane.documents.values import pack_document
from dataplane.documents.whole_rows import whole_row
from dataplane.recovery.replay import Replay, Since, Target
from dataplane.storage.engine import MemoryStore
from dataplane.wire.backups import Rows
from dataplane.wire.proofs import EpochChange, epoch_change_payload
from dataplane.wire.stubs import is_stub
from tests.dataplane.client.test_backups import packed, records_of
from tests.proving import CLIENT, NOW_MS, Replicas

SESSION = session_id(CLIENT, b"nonce")


class Recorded(Replicas):
    """A cluster whose batches are kept as they were decided."""

    def __init__(self, **options: object) -> None:
        self.entries: list[CommittedEntry] = []
        self.roots: dict[int, bytes] = {}
        self.time_ms = NOW_MS
        super().__init__(**options)

    def _order(self, sent) -> None:
        self.time_ms += 1000
        request = Request(CLIENT, SESSION, sent.cseq, sent.ack, sent.ops, b"s" * 64)
        batch = Batch(self.time_ms, (request,))
        result = self.machine.apply(self.machine.applied + 1, batch.ts_ms, batch.requests)
        assert result.requests[0].status == "ok"
        self.entries.append(self.entry(self.machine.applied, batch))
        self.roots[self.machine.applied] = self.machine.root()

    def entry(self, sequence: int, batch: Batch, *replicas: int) -> CommittedEntry:
        data = encode_batch(batch)
        digest = digest_of(data)
        payload = vote_payload(
            b"C",
            bytes.fromhex(self.cluster_id),
            epoch=self.epoch,
            view=0,
            sequence=sequence,
            digest=digest,
        )
        votes = self.sign(payload, *replicas)
        return CommittedEntry(data, CommitCertificate(self.epoch, 0, sequence, digest, votes))

    def live(self, seed: int, rounds: int) -> None:
        """Do what clients do, by chance."""
        chosen = random.Random(seed)
        for _ in range(rounds):
            name = f"id-{chosen.randrange(40)}"
            exists = self.machine.view.get("things", name) is not None
            match chosen.randrange(5):
                case 0 if exists:
                    self.do(Delete("things", name))
                case 1 if exists:
                    self.do(Patch("things", name, pack_document({"p": chosen.randrange(9)})))
                case 2 if self.machine.view.collection("others"):
                    self.do(CollectionDrop("others"))
                case 3:
                    self.do(Put("others", name, pack_document({"n": 1})))
                case _:
                    self.do(Put("things", name, pack_document({"n": chosen.randrange(9)})))

    def segments(self, size: int = 7) -> list[Batches]:
        starts = range(0, len(self.entries), size)
        return [Batches(tuple(self.entries[at : at + size])) for at in starts]


def replay_of(cluster: Recorded, file: bytes, anchor: TrustAnchor | None = None) -> Replay:
    reader = BackupReader(io.BytesIO(file))
    deciders = Deciders(anchor or cluster.anchor)
    return Replay(MemoryStore(), reader.head, reader.records(), deciders)


def test_what_became_cold_before_or_after_a_backup_is_in_the_backup_of_a_replay():
    cluster = Recorded()
    policy = pack_document({"tiering": {"cold_after_s": 10}})
    cluster.do(CollectionPut("cold", policy))
    cluster.do(Put("cold", "before", pack_document({"text": "b" * 100})))
    for _ in range(20):
        cluster.do(Maintain())
    assert is_stub(cluster.machine.view.row("cold", "before"))
    bodies = [cluster_body(cluster, record) for record in records_of(cluster)]
    file = packed(bodies)
    cluster.do(Put("cold", "after", pack_document({"text": "a" * 100})))
    for _ in range(20):
        cluster.do(Maintain())
    assert is_stub(cluster.machine.view.row("cold", "after"))

    replay = replay_of(cluster, file)
    replay.run(cluster.segments(), Target())
    head, records = replay.records()
    again = io.BytesIO()
    again.write(packed([head, *records]))
    again.seek(0)

    assert replay.root() == cluster.machine.root()
    found = {
        key[5:]: value[24:]
        for record in BackupReader(again).records()
        if isinstance(record, Rows)
        for key, value in record.whole()
        if key.startswith(b"D")
    }
    assert found[b"before"] == pack_document({"text": "b" * 100})
    assert found[b"after"] == pack_document({"text": "a" * 100})


def cluster_body(cluster: Recorded, record):
    """Return a record with the bodies of cold documents, as a node sends it."""
    if not isinstance(record, Rows):
        return record
    read = cluster.store.get
    stubs = [value for key, value in record.rows if key.startswith(b"D") and is_stub(value)]
    return Rows(record.rows, tuple(whole_row(read, value)[24:] for value in stubs))


def refusal(replay: Replay, archive: Iterable[Batches], target: Target | None = None) -> str:
    with pytest.raises(ProofError) as caught:
        replay.run(archive, target or Target())
    return caught.value.code


@pytest.fixture
def cluster() -> Recorded:
    made = Recorded()
    made.live(1, 30)
    return made


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.integers(1, 25), st.data())
def test_the_state_at_any_sequence_is_that_of_a_run_that_stopped_there(seed, before, data):
    cluster = Recorded()
    cluster.live(seed, before)
    file = packed(records_of(cluster))
    cluster.live(seed + 1, 40)
    last = cluster.machine.applied
    stop = data.draw(st.integers(before + 1, last))
    replay = replay_of(cluster, file)
    done = replay.run(cluster.segments(), Target(sequence=stop), roots=cluster.roots)
    assert replay.root() == cluster.roots[stop]
    assert done.compared[-1] == stop
    replay.run(cluster.segments(), Target(), roots=cluster.roots)
    assert replay.root() == cluster.machine.root()


def test_a_time_means_after_its_last_batch(cluster):
    file = packed(records_of(cluster))
    first = cluster.machine.applied
    begun = cluster.time_ms
    cluster.live(2, 10)
    for ms, expected in (
        (begun + 999, first),
        (begun + 1000, first + 1),
        (begun + 5500, first + 5),
    ):
        replay = replay_of(cluster, file)
        assert replay.run(cluster.segments(), Target(time_ms=ms)).sequence == expected
        assert replay.root() == cluster.roots[expected]


def test_an_interrupted_run_is_gone_on_with_and_comes_to_its_end_however_long_reading_takes(
    cluster,
):
    file = packed(records_of(cluster))
    cluster.live(4, 5)
    last = cluster.machine.applied
    replay = replay_of(cluster, file)

    def run(target: Target) -> tuple[int, bool]:
        done = replay.run(cluster.segments(), target, is_time_up=lambda: True)
        return done.sequence, done.is_over

    assert run(Target(sequence=last - 3)) == (last - 4, False)
    assert run(Target(sequence=last - 3)) == (last - 3, True)
    assert [run(Target()) for _ in range(4)] == [
        (last - 2, False),
        (last - 1, False),
        (last, False),
        (last, True),
    ]
    with pytest.raises(BackupError) as caught:
        run(Target(sequence=last + 1))
    assert caught.value.code == "beyond_archive"


def test_what_happened_since_is_counted(cluster):
    file = packed(records_of(cluster))
    replay = replay_of(cluster, file)
    cluster.do(Put("fresh", "a", pack_document({})), Put("fresh", "b", pack_document({})))
    cluster.do(Delete("fresh", "a"))
    since: Since = {}
    replay.run(cluster.segments(), Target(), since=since)
    assert since["fresh"] == {"insert": 2, "delete": 1}


def test_the_written_state_is_one_that_can_be_weighed_and_restored(cluster, tmp_path):
    file = packed(records_of(cluster))
    cluster.live(3, 20)
    stop = cluster.machine.applied - 5
    replay = replay_of(cluster, file)
    replay.run(cluster.segments(), Target(sequence=stop))
    write_backup(tmp_path / "state", *replay.records())
    with (tmp_path / "state").open("rb") as opened:
        weighed = weigh_backup([opened])
    assert weighed.contents.root == cluster.roots[stop]
    assert weighed.head.certificate.sequence == stop


# --- What is false is refused ---------------------------------------------------------------------


def test_a_batch_that_no_quorum_decided_is_refused(cluster):
    file = packed(records_of(cluster))
    sequence = cluster.machine.applied + 1
    forged = Batch(NOW_MS, ())
    few = cluster.entry(sequence, forged, 0, 1)
    assert refusal(replay_of(cluster, file), [Batches((few,))]) == "not_enough_signers"
    stranger = Recorded(cluster_id="cd" * 16)
    other = stranger.entry(sequence, forged)
    assert refusal(replay_of(cluster, file), [Batches((other,))]) == "bad_signature"
    cluster.live(4, 1)
    right = cluster.entries[-1]
    swapped = msgspec.structs.replace(right, batch=encode_batch(forged))
    assert refusal(replay_of(cluster, file), [Batches((swapped,))]) == "other_batch"
    moved = msgspec.structs.replace(
        right, certificate=msgspec.structs.replace(right.certificate, sequence=sequence + 1)
    )
    assert refusal(replay_of(cluster, file), [Batches((moved,))]) == "gap"


def test_a_missing_batch_and_an_archive_that_ends_too_early_are_refused(cluster):
    file = packed(records_of(cluster))
    cluster.live(5, 12)
    entries = cluster.entries[-12:]
    holey = [Batches(tuple(entries[:4])), Batches(tuple(entries[5:]))]
    assert refusal(replay_of(cluster, file), holey) == "gap"
    target = Target(sequence=cluster.machine.applied + 1)
    assert refusal(replay_of(cluster, file), cluster.segments(), target) == "beyond_archive"


def test_another_root_than_the_signed_one_is_noticed_on_the_way(cluster):
    file = packed(records_of(cluster))
    cluster.live(6, 12)
    at = cluster.machine.applied - 3
    with pytest.raises(BackupError) as caught:
        replay_of(cluster, file).run(cluster.segments(), Target(), roots={at: bytes(32)})
    assert caught.value.code == "other_root"


def test_batches_of_later_members_count_when_the_earlier_ones_named_them(cluster):
    file = packed(records_of(cluster))
    ends_at = cluster.machine.applied
    following = Recorded(epoch=1)
    following.machine, following.store = cluster.machine, cluster.store
    following.cseq, following.time_ms = cluster.cseq, cluster.time_ms
    following.entries, following.roots = [], {}
    change = EpochChange(0, ends_at, following.validators, ())
    payload = epoch_change_payload(bytes.fromhex(cluster.cluster_id), change)
    signed = msgspec.structs.replace(change, votes=cluster.sign(payload))
    following.live(7, 9)
    archive = [Batches(tuple(following.entries), (signed,))]
    replay = replay_of(cluster, file)
    replay.run(archive, Target(), roots=following.roots)
    assert replay.root() == following.machine.root()
    assert refusal(replay_of(cluster, file), [Batches(archive[0].entries)]) == "other_epoch"
    late = cluster.entry(ends_at + 1, Batch(NOW_MS, ()))
    assert refusal(replay_of(cluster, file), [Batches((late,), (signed,))]) == "other_epoch"


def test_segments_are_kept_whole_and_in_order(cluster, tmp_path):
    archive = ArchiveDirectory(tmp_path / "archive")
    assert archive.last == 0
    for batches in cluster.segments():
        archive.add(batches)
    assert archive.last == cluster.machine.applied
    assert [b for s in archive.read(0) for b in s.entries] == cluster.entries
    behind = next(iter(archive.read(10))).entries
    assert behind[-1].certificate.sequence > 10
    for damaged in (b"", b"AEROLITH-BATCHES" + b"x", pack_segment(cluster.segments()[0])[:-9]):
        with pytest.raises(BackupError):
            unpack_segment(damaged)
