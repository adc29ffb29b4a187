"""A node that starts at the very end of an epoch goes back into it while proofs are missing."""

from dataclasses import replace

import pytest

from dataplane.consensus.messages import Request
from dataplane.consensus.records import Decided, EpochClosed, decode_record, encode_record
from dataplane.documents.commands import session_id
from dataplane.documents.membership import with_past
from dataplane.documents.types import Configuration
from dataplane.replication.reopening import epoch_to_finish
from dataplane.simulation.application import Workload
from dataplane.simulation.options import APPLICATIONS
from dataplane.simulation.scenarios.lab import CLUSTER_ID, START_MS, Lab
from dataplane.storage.engine import MemoryStore
from dataplane.wire.membership import Member

END = 3


def member(number: int) -> Member:
    keys = bytes([number]) * 32, bytes([100 + number]) * 32
    return Member(number, "127.0.0.1", 1, 2, *keys)


OLD = tuple(member(number) for number in range(4))
NOW = with_past(Configuration(1, END, (member(0), member(9))), 0, OLD)


def log_of(*, lost: tuple[int, ...]) -> list[bytes]:
    """Return the log of a member that decided all batches, without some of the certificates."""
    lab = Lab(4)
    lab.order(*range(1, END + 1))

    def is_lost(data: bytes) -> bool:
        record = decode_record(data)
        return isinstance(record, Decided) and record.certificate.sequence in lost

    records = [data for data in lab.bench[1].disk if not is_lost(data)]
    assert len(lab.bench[1].disk) - len(records) == len(lost)
    return records


def test_without_a_certificate_it_goes_back_into_the_epoch_that_it_finished():
    for lost in ((2,), (END,)):
        past = epoch_to_finish(NOW, END, 1, log_of(lost=lost))
        assert past == Configuration(0, 0, OLD, END, NOW.members)


@pytest.mark.parametrize(
    ("known", "applied", "node_id", "lost"),
    [
        (NOW, END, 1, ()),
        (NOW, END + 1, 1, (2,)),
        (NOW, END - 1, 1, (2,)),
        (NOW, END, 9, (2,)),
        (replace(NOW, before=None), END, 1, (2,)),
    ],
    ids=["all is proven", "behind the end", "before the end", "no member", "the first epoch"],
)
def test_else_it_begins_where_its_state_is(known, applied, node_id, lost):
    assert epoch_to_finish(known, applied, node_id, log_of(lost=lost)) is None


def test_an_epoch_that_was_left_is_not_entered_again():
    records = log_of(lost=(2,))
    assert epoch_to_finish(NOW, END, 1, [*records, encode_record(EpochClosed(0, END))]) is None


def test_who_voted_in_the_next_epoch_does_not_go_back():
    records = log_of(lost=(2,))
    later = encode_record(EpochClosed(1, END + 9))
    assert epoch_to_finish(NOW, END, 1, [*records, later]) is None


def test_a_lost_log_leads_nobody_back():
    assert epoch_to_finish(NOW, END, 1, []) is None


@pytest.mark.parametrize("application", APPLICATIONS)
def test_a_state_remembers_the_epoch_before(application):
    workload = Workload(application, cluster_id=CLUSTER_ID, members=OLD, tail=8)
    store = MemoryStore()
    machine = workload.executor(store)
    client = b"c" * 32
    opening = workload.opening(b"nonce")
    session = session_id(client, b"nonce")
    order = workload.order(1, OLD[:1])
    requests = [
        Request(client, session, 0, 0, (opening,), b""),
        Request(client, session, 1, 0, (order,), b""),
    ]
    machine.apply(1, START_MS, requests)
    assert machine.configuration.before is None
    ends_at = machine.configuration.ends_at
    for sequence in range(2, ends_at + 1):
        machine.apply(sequence, START_MS, ())
    before = Configuration(0, 0, OLD, ends_at, OLD[:1])
    for known in (machine.configuration, workload.executor(store).configuration):
        assert known == Configuration(1, ends_at, OLD[:1], before=before)
