"""A sealed log keeps the promises of the plain one; only what it holds cannot be read."""

import itertools
import os
import shutil
from pathlib import Path

import pytest

from dataplane.storage.directory import DataDirectory
from dataplane.storage.errors import CorruptionError, UnknownKeyError
from dataplane.storage.evidence import EvidenceLog
from dataplane.storage.wal import WriteAheadLog
from tests.dataplane.storage.ciphers import Ring, found_in
from tests.dataplane.storage.test_evidence import record

SECRETS = (b"document", b"body", b"orders/1")


def records_of(log: WriteAheadLog) -> list[bytes]:
    return [record for _, record in log.replay()]


def crash(log: WriteAheadLog) -> None:
    """Leave the files as they are, as kill -9 does."""
    os.close(log._fd)
    os.close(log._position_fd)


def written(path: Path, bursts: list[list[bytes]], ring: Ring | None, **options: int) -> Path:
    log = WriteAheadLog(path, ciphers=ring, **options)
    for label, burst in enumerate(bursts, start=1):
        log.append(burst, label=label)
        log.sync()
    crash(log)
    return max(path.glob("*.wal"))


def test_sealed_records_come_back_and_cannot_be_read(tmp_path: Path) -> None:
    bursts = [[b"document", b"", b"body" * 5000], [b"orders/1"]]
    written(tmp_path, bursts, Ring())
    assert not found_in(tmp_path, *SECRETS)
    log = WriteAheadLog(tmp_path, ciphers=Ring())
    assert list(log.replay()) == [(1, b"document"), (1, b""), (1, b"body" * 5000), (2, b"orders/1")]
    log.close()


@pytest.mark.parametrize("ring", [None, Ring(seed=1)], ids=["no keys", "other keys"])
def test_a_log_under_a_key_that_is_not_there_is_not_called_damaged(
    tmp_path: Path, ring: Ring | None
) -> None:
    theirs = Ring()
    theirs.add()
    written(tmp_path, [[b"document"]], theirs)
    with pytest.raises(UnknownKeyError, match="key 2"):
        WriteAheadLog(tmp_path, ciphers=ring)


def test_every_cut_of_an_unsynced_burst_is_survived(tmp_path: Path) -> None:
    source = tmp_path / "source"
    log = WriteAheadLog(source, ciphers=Ring())
    log.append([b"kept"])
    log.sync()
    position = (source / "position").read_bytes()
    segment = next(source.glob("*.wal"))
    synced = segment.stat().st_size
    log.append([b"torn" * 10, b"torn too"])
    log.sync()
    crash(log)
    for size in range(synced, segment.stat().st_size):
        cut = tmp_path / f"cut-{size}"
        shutil.copytree(source, cut)
        (cut / "position").write_bytes(position)
        os.truncate(cut / segment.name, size)
        again = WriteAheadLog(cut, ciphers=Ring())
        assert records_of(again)[:1] == [b"kept"]
        crash(again)


def test_a_flipped_bit_in_front_of_the_last_sync_is_damage(tmp_path: Path) -> None:
    segment = written(tmp_path, [[b"document"], [b"body"]], Ring())
    intact = segment.read_bytes()
    for at in range(len(intact)):
        changed = bytearray(intact)
        changed[at] ^= 4
        segment.write_bytes(changed)
        with pytest.raises((CorruptionError, UnknownKeyError)):
            crash(WriteAheadLog(tmp_path, ciphers=Ring()))


def test_a_log_that_was_cut_short_is_damage(tmp_path: Path) -> None:
    segment = written(tmp_path, [[b"document"], [b"body"]], Ring())
    for size in range(0, segment.stat().st_size, 7):
        cut = tmp_path / "cut" / str(size)
        cut.mkdir(parents=True)
        shutil.copy(tmp_path / "position", cut)
        shutil.copy(segment, cut)
        os.truncate(cut / segment.name, size)
        with pytest.raises(CorruptionError):
            WriteAheadLog(cut, ciphers=Ring())


def test_records_cannot_change_places(tmp_path: Path) -> None:
    """Two records of one length, exchanged."""
    segment = written(tmp_path, [[b"aaaa"], [b"bbbb"]], Ring())
    data = segment.read_bytes()
    log = WriteAheadLog(tmp_path, ciphers=Ring())
    found = log._segments[0]
    ends = [len(found.format.header), *(r.end for r in log._records(found, data))]
    crash(log)
    spans = [data[start:end] for start, end in itertools.pairwise(ends)]
    places = [at for at, span in enumerate(spans) if len(span) == len(spans[3])]
    first, second = places[0], places[1]
    spans[first], spans[second] = spans[second], spans[first]
    segment.write_bytes(data[: ends[0]] + b"".join(spans))
    with pytest.raises(CorruptionError):
        WriteAheadLog(tmp_path, ciphers=Ring())


def test_a_plain_log_goes_on_sealed_and_is_sealed_anew(tmp_path: Path) -> None:
    """Killed and opened again at every step."""
    bursts = [[b"document %d" % n, b"body" * 50] for n in range(20)]
    expected = [record for burst in bursts for record in burst]
    written(tmp_path, bursts, None, segment_bytes=900)
    assert found_in(tmp_path, *SECRETS)
    ring, steps = Ring(), 0
    while True:
        log = WriteAheadLog(tmp_path, ciphers=ring, segment_bytes=900)
        assert records_of(log) == expected
        stale = log.stale_count()
        resealing = log.reseal()
        left = next(resealing, False) is None
        del resealing
        crash(log)
        if not left:
            break
        steps += 1
        assert stale
    assert steps > 3
    assert not found_in(tmp_path, *SECRETS)


def test_what_is_synced_after_a_change_of_keys_is_under_the_new_one(tmp_path: Path) -> None:
    ring = Ring()
    log = WriteAheadLog(tmp_path, ciphers=ring)
    log.append([b"document"], label=1)
    log.sync()
    ring.add()
    log.append([b"body"], label=2)
    log.sync()
    assert log.stale_count() == 1
    assert records_of(log) == [b"document", b"body"]
    for _ in log.reseal():
        assert records_of(log) == [b"document", b"body"]
    assert log.stale_count() == 0
    ring.forget_old()
    assert records_of(log) == [b"document", b"body"]
    crash(log)
    log = WriteAheadLog(tmp_path, ciphers=ring)
    assert records_of(log) == [b"document", b"body"]
    log.close()


def test_a_segment_that_was_dropped_meanwhile_does_not_come_back(tmp_path: Path) -> None:
    ring = Ring()
    log = WriteAheadLog(tmp_path, ciphers=ring, segment_bytes=100)
    for label in range(1, 6):
        log.append([b"x" * 400_000], label=label)
        log.sync()
    ring.add()
    log.begin_segment()
    resealing = log.reseal()
    next(resealing)
    log.truncate_before(100)
    assert list(resealing) == []
    assert [path.name for path in tmp_path.glob("0*")] == [log._segments[0].path.name]
    log.close()


def test_a_burst_without_records_closes_a_stale_segment(tmp_path: Path) -> None:
    ring = Ring()
    log = WriteAheadLog(tmp_path, ciphers=ring)
    ring.add()
    log.begin_segment()
    assert log.stale_count() == 1
    list(log.reseal())
    assert log.stale_count() == 0
    log.close()


def test_a_damaged_sealed_log_is_set_aside(tmp_path: Path) -> None:
    ring = Ring()
    with DataDirectory(tmp_path, open_ciphers=lambda _: ring) as directory:
        directory.wal.append([b"vote"])
    segment = next((tmp_path / "wal").glob("*.wal"))
    changed = bytearray(segment.read_bytes())
    changed[-1] ^= 1
    segment.write_bytes(changed)
    with DataDirectory(tmp_path, open_ciphers=lambda _: ring) as directory:
        assert directory.amnesia is not None
        assert "wal_corrupt" in directory.amnesia
    assert (tmp_path / "wal.lost").exists()


def test_evidence_is_sealed_and_sealed_anew(tmp_path: Path) -> None:
    path, ring = tmp_path / "evidence.jsonl", Ring()
    log = EvidenceLog(path)
    log.append(record(1))
    log.close()
    assert found_in(tmp_path, b"seen_ms")
    log = EvidenceLog(path, ring)
    assert log.is_stale
    log.append(record(2))
    log.reseal()
    assert not log.is_stale
    log.append(record(3))
    log.close()
    assert not found_in(tmp_path, b"seen_ms", b"proof")
    log = EvidenceLog(path, ring)
    assert log.records == [record(1), record(2), record(3)]
    log.close()
    with pytest.raises(UnknownKeyError):
        EvidenceLog(path)


def test_lines_of_evidence_cannot_change_places(tmp_path: Path) -> None:
    path, ring = tmp_path / "evidence.jsonl", Ring()
    log = EvidenceLog(path, ring)
    log.append(record(1))
    log.append(record(2))
    log.close()
    path.write_bytes(b"".join(reversed(path.read_bytes().splitlines(keepends=True))))
    log = EvidenceLog(path, ring)
    assert log.records == []
    assert log.damaged_count == 2
    log.close()
