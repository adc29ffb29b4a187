"""The file of proofs: what was written is there after a crash, and no more than fits."""

import pytest

from dataplane.consensus.evidence import proof_from
from dataplane.consensus.messages import Commit
from dataplane.simulation.scenarios.lab import Lab
from dataplane.storage import evidence
from dataplane.storage.errors import FatalStorageError
from dataplane.storage.evidence import EvidenceLog, StoredEvidence

LAB = Lab(4)


def record(sequence: int) -> StoredEvidence:
    pair = [LAB.vote(Commit, 3, sequence, digest) for digest in (b"\1" * 32, b"\2" * 32)]
    proof = proof_from(*pair)
    assert proof is not None
    return StoredEvidence(
        proof, LAB.members[3].public_key, 1_000 + sequence, None if sequence % 2 else 2
    )


def filled(path, count: int) -> list[StoredEvidence]:
    log = EvidenceLog(path)
    records = [record(sequence) for sequence in range(1, count + 1)]
    assert all(log.append(each) for each in records)
    log.close()
    return records


def test_records_come_back_in_order(tmp_path):
    records = filled(tmp_path / "e", 3)
    log = EvidenceLog(tmp_path / "e")
    assert (log.records, log.damaged_count) == (records, 0)
    assert log.append(record(9))
    log.close()
    log.close()
    assert EvidenceLog(tmp_path / "e").records == [*records, record(9)]


def test_a_torn_line_is_cut_wherever_the_crash_was(tmp_path):
    path = tmp_path / "e"
    records = filled(path, 2)
    whole = path.read_bytes()
    start = whole.index(b"\n") + 1
    for cut in range(start, len(whole)):
        path.write_bytes(whole[:cut])
        log = EvidenceLog(path)
        assert log.records == records[:1]
        assert log.append(records[1])
        log.close()
        assert path.read_bytes() == whole


def test_a_damaged_line_costs_only_itself(tmp_path):
    path = tmp_path / "e"
    records = filled(path, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\xff{damaged\n" + lines[2])
    log = EvidenceLog(path)
    assert (log.records, log.damaged_count) == ([records[0], records[2]], 1)


def test_a_full_file_takes_no_more(tmp_path, monkeypatch):
    filled(tmp_path / "e", 2)
    size = (tmp_path / "e").stat().st_size
    monkeypatch.setattr(evidence, "FILE_BYTES_MAX", size + 10)
    log = EvidenceLog(tmp_path / "e")
    assert not log.append(record(3))
    assert (tmp_path / "e").stat().st_size == size


def test_a_disk_that_refuses_ends_the_node(tmp_path):
    log = EvidenceLog(tmp_path / "e")
    log.close()
    with pytest.raises(FatalStorageError):
        log.append(record(1))
    with pytest.raises(FatalStorageError):
        EvidenceLog(tmp_path)
