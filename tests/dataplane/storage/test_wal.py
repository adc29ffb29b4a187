"""The log keeps what was synced, drops what was torn, and notices damage."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from dataplane.storage.directory import DataDirectory
from dataplane.storage.errors import (
    CorruptionError,
    DirectoryLockedError,
    FatalStorageError,
    MissingLogError,
)
from dataplane.storage.wal import WriteAheadLog


def records_of(log: WriteAheadLog) -> list[bytes]:
    return [record for _, record in log.replay()]


def crash(log: WriteAheadLog) -> None:
    """Leave the files as they are, as kill -9 does."""
    os.close(log._fd)
    os.close(log._position_fd)


def written(path: Path, bursts: list[list[bytes]], **options: int) -> Path:
    log = WriteAheadLog(path, **options)
    for label, burst in enumerate(bursts, start=1):
        log.append(burst, label=label)
        log.sync()
    crash(log)
    return max(path.glob("*.wal"))


def test_synced_records_come_back_in_order(tmp_path: Path) -> None:
    written(tmp_path, [[b"a", b"", b"c" * 5000], [b"d"]])
    log = WriteAheadLog(tmp_path)
    assert list(log.replay()) == [(1, b"a"), (1, b""), (1, b"c" * 5000), (2, b"d")]
    log.append([b"e"], label=3)
    assert log.sync() == 1
    log.close()
    assert records_of(WriteAheadLog(tmp_path)) == [b"a", b"", b"c" * 5000, b"d", b"e"]


def test_what_is_appended_but_not_synced_is_not_promised(tmp_path: Path) -> None:
    log = WriteAheadLog(tmp_path)
    log.append([b"a"])
    assert records_of(log) == []
    crash(log)
    assert records_of(WriteAheadLog(tmp_path)) == []


def test_torn_tail_is_cut_and_the_log_goes_on(tmp_path: Path) -> None:
    segment = written(tmp_path, [[b"a"], [b"b"]])
    size = segment.stat().st_size
    for tail in (b"\x00", b"\x00" * 4096, b"garbage" * 9):
        with segment.open("ab") as file:
            file.write(tail)
        log = WriteAheadLog(tmp_path)
        assert records_of(log) == [b"a", b"b"]
        crash(log)
        os.truncate(segment, size)
        (tmp_path / "position").unlink()


def test_every_cut_of_an_unsynced_burst_is_survived(tmp_path: Path) -> None:
    source = tmp_path / "source"
    log = WriteAheadLog(source)
    log.append([b"kept"])
    log.sync()
    position = (source / "position").read_bytes()
    segment = next(source.glob("*.wal"))
    synced = segment.stat().st_size
    log.append([b"torn" * 10, b"torn too"])
    log.sync()
    crash(log)
    (source / "position").write_bytes(position)
    whole = segment.read_bytes()
    for cut in range(synced, len(whole)):
        copy = tmp_path / f"cut-{cut}"
        shutil.copytree(source, copy)
        (copy / segment.name).write_bytes(whole[:cut])
        again = WriteAheadLog(copy)
        assert records_of(again)[:1] == [b"kept"]
        assert len(records_of(again)) <= 2
        crash(again)
        shutil.rmtree(copy)


def test_every_flipped_byte_of_synced_data_is_noticed(tmp_path: Path) -> None:
    segment = written(tmp_path, [[b"alpha", b"beta"], [b"gamma"]])
    whole = segment.read_bytes()
    for index in range(len(whole)):
        damaged = bytearray(whole)
        damaged[index] ^= 0x10
        segment.write_bytes(bytes(damaged))
        with pytest.raises(CorruptionError):
            WriteAheadLog(tmp_path)


def test_damage_in_front_of_a_mark_is_noticed_without_the_position_file(tmp_path: Path) -> None:
    segment = written(tmp_path, [[b"alpha"], [b"beta"]])
    whole = bytearray(segment.read_bytes())
    whole[whole.index(b"alpha")] ^= 1
    segment.write_bytes(bytes(whole))
    (tmp_path / "position").unlink()
    with pytest.raises(CorruptionError):
        WriteAheadLog(tmp_path)


def test_shortened_log_is_corrupt_not_torn(tmp_path: Path) -> None:
    segment = written(tmp_path, [[b"alpha"], [b"beta"]])
    os.truncate(segment, segment.stat().st_size - 1)
    with pytest.raises(CorruptionError):
        WriteAheadLog(tmp_path)


def test_segments_roll_chain_and_truncate_by_label(tmp_path: Path) -> None:
    written(tmp_path, [[bytes([label]) * 400] for label in range(1, 21)], segment_bytes=1000)
    names = sorted(path.name for path in tmp_path.glob("*.wal"))
    assert len(names) > 5
    log = WriteAheadLog(tmp_path, segment_bytes=1000)
    assert [label for label, _ in log.replay()] == list(range(1, 21))
    assert log.truncate_before(1) == 0
    assert log.truncate_before(11) > 0
    kept = [label for label, _ in log.replay()]
    assert kept == list(range(kept[0], 21))
    assert kept[0] <= 11
    assert [label for label, _ in log.replay(18)][-3:] == [18, 19, 20]
    assert next(log.replay(18))[0] > kept[0]
    log.close()
    again = WriteAheadLog(tmp_path, segment_bytes=1000)
    assert [label for label, _ in again.replay()] == kept
    again.close()


def test_lost_segments_are_noticed(tmp_path: Path) -> None:
    written(tmp_path, [[bytes([label]) * 400] for label in range(1, 21)], segment_bytes=1000)
    names = sorted(tmp_path.glob("*.wal"))
    for victim in (names[2], names[-1]):
        data = victim.read_bytes()
        victim.unlink()
        with pytest.raises(CorruptionError):
            WriteAheadLog(tmp_path)
        victim.write_bytes(data)
    for path in names:
        path.unlink()
    with pytest.raises(MissingLogError):
        WriteAheadLog(tmp_path)


def test_half_created_segment_is_dropped(tmp_path: Path) -> None:
    written(tmp_path, [[b"a"]])
    (tmp_path / f"{2:016d}.wal").write_bytes(b"AERO")
    log = WriteAheadLog(tmp_path)
    assert records_of(log) == [b"a"]
    log.close()


def test_failed_sync_is_fatal_and_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = WriteAheadLog(tmp_path)

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, "no")

    log.append([b"a"])
    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(FatalStorageError):
        log.sync()
    monkeypatch.undo()
    with pytest.raises(FatalStorageError):
        log.sync()
    log.close()


def test_directory_counts_lives_and_locks(tmp_path: Path) -> None:
    with DataDirectory(tmp_path) as first:
        assert first.incarnation == 1
        with pytest.raises(DirectoryLockedError):
            DataDirectory(tmp_path)
    with DataDirectory(tmp_path) as second:
        assert second.incarnation == 2
        assert second.state_path.parent == tmp_path


def test_directory_notices_a_lost_or_restored_log(tmp_path: Path) -> None:
    with DataDirectory(tmp_path) as directory:
        directory.wal.append([b"a"])
    shutil.copytree(tmp_path / "wal", tmp_path / "backup")
    with DataDirectory(tmp_path) as directory:
        assert records_of(directory.wal) == [b"a"]
    gone, stale = tmp_path / "gone", tmp_path / "stale"
    for copy in (gone, stale):
        copy.mkdir()
        shutil.copy(tmp_path / "incarnation", copy)
    shutil.move(tmp_path / "backup", stale / "wal")
    for path, code in ((gone, "wal_missing"), (stale, "wal_stale")):
        with DataDirectory(path) as directory:
            assert directory.amnesia is not None
            assert directory.amnesia.startswith(code)
            assert directory.incarnation == 3
            assert records_of(directory.wal) == []


def test_unreadable_incarnation_is_amnesia(tmp_path: Path) -> None:
    DataDirectory(tmp_path).close()
    (tmp_path / "incarnation").write_text("many")
    with DataDirectory(tmp_path) as directory:
        assert directory.amnesia is not None


def test_amnesia_is_never_forgotten_and_the_first_lost_log_is_kept(tmp_path: Path) -> None:
    with DataDirectory(tmp_path) as directory:
        assert directory.amnesia is None
        directory.wal.append([b"vote"])
    segment = next((tmp_path / "wal").glob("0*"))
    for lives in range(2, 5):
        content = bytearray(segment.read_bytes())
        content[len(content) // 2] ^= 1
        segment.write_bytes(content)
        with DataDirectory(tmp_path) as directory:
            assert directory.amnesia is not None
            assert directory.incarnation == lives
            directory.wal.append([b"learnt"])
        assert (tmp_path / "wal.lost" / segment.name).exists()
    with DataDirectory(tmp_path) as directory:
        assert directory.amnesia is not None
        assert directory.amnesia.startswith("wal_corrupt")
        assert records_of(directory.wal) == [b"learnt"]
