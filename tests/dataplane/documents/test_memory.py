"""The memory tier: never another answer than that of the row at hand, and never too large."""

from types import SimpleNamespace

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from dataplane.documents.audit_commands import EraseBegin, EraseStep
from dataplane.documents.commands import CollectionDrop, CollectionPut, Delete, Put
from dataplane.documents.memory import ENTRY_BYTES, Memory
from dataplane.documents.rendering import render_text
from dataplane.documents.subjects import subject_hash
from dataplane.documents.values import pack_document
from dataplane.query import parse_query, query_steps
from dataplane.query.executor import finish
from dataplane.wire.stubs import is_stub
from tests.dataplane.documents.index_checks import Machine
from tests.dataplane.documents.test_copying import fetch
from tests.dataplane.documents.test_tiering import LONG, cold_machine, pass_time, put, tiered, warm

FIND_ALL = parse_query("c", {})


def asked(machine: Machine, document_id: str) -> dict[str, object]:
    """Return a document as a point read answers it."""
    view = machine.state.view
    row = view.row("c", document_id)
    assert row is not None
    found: dict[str, object] = msgspec.json.decode(view.text(("c", document_id), row))
    return found


def counts(machine: Machine) -> tuple[int, int]:
    return machine.state.view.memory.hits, machine.state.view.memory.misses


def filled() -> Machine:
    machine = Machine()
    machine.apply(*[Put("c", f"d{n}", pack_document({"n": n, "t": LONG})) for n in range(3)])
    machine.apply(Put("other", "d0", pack_document({"n": 9})))
    for n in range(3):
        asked(machine, f"d{n}")
    return machine


def test_what_is_asked_for_again_is_in_memory_and_the_same():
    machine = filled()
    first = asked(machine, "d1")
    assert counts(machine) == (1, 3)
    assert (first["_id"], first["n"], first["_version"]) == ("d1", 1, 1)
    assert machine.state.view.collection("c").memory[0] == 3


def test_a_written_document_is_answered_as_written_and_its_old_body_is_kept_no_longer():
    machine = filled()
    machine.apply(Put("c", "d1", pack_document({"n": 100})))
    assert len(machine.state.view.memory) == 2
    assert asked(machine, "d1")["n"] == 100


def test_a_document_that_is_removed_and_made_again_at_the_same_moment_is_the_new_one():
    machine = filled()
    machine.apply(Delete("c", "d1"), Put("c", "d1", pack_document({"n": 7})))
    assert asked(machine, "d1")["n"] == 7


def test_a_dropped_collection_leaves_nothing_in_memory():
    machine = filled()
    machine.apply(CollectionDrop("c"))
    assert (len(machine.state.view.memory), machine.state.view.memory.size_bytes) == (0, 0)
    machine.apply(Put("c", "d1", pack_document({"n": 8})))
    assert asked(machine, "d1")["n"] == 8


def test_who_is_erased_and_what_expires_is_in_memory_no_longer():
    machine = Machine()
    options = {"subject": "who", "ttl": 60}
    machine.apply(CollectionPut("c", pack_document(options)))
    machine.apply(*[Put("c", name, pack_document({"who": name})) for name in ("ada", "bob", "eve")])
    view = machine.state.view
    for name in ("ada", "bob", "eve"):
        asked(machine, name)
    salt = b"s" * 16
    machine.apply(EraseBegin(b"e" * 16, subject_hash(salt, "ada"), salt))
    machine.apply(EraseStep(b"e" * 16, "c", ("ada", "bob")))
    assert len(view.memory) == 2
    machine.now_ms += 61_000
    machine.apply()
    machine.apply()
    assert (len(view.memory), view.memory.size_bytes) == (0, 0)


def test_another_state_begins_with_an_empty_memory():
    ahead, behind = filled(), filled()
    ahead.apply(Put("c", "d0", pack_document({"n": "ahead"})))
    behind.apply(Put("c", "d0", pack_document({"n": "behind"})))
    asked(behind, "d0")
    source, target = ahead.state.copies, behind.state.copies
    root = source.root()
    source.mark(ahead.state.applied, root)
    fetch(SimpleNamespace(state=source), target, ahead.state.applied, root)
    assert target.install(ahead.state.applied, root)
    assert len(behind.state.view.memory) == 0
    assert asked(behind, "d0")["n"] == "ahead"


def test_who_reads_an_earlier_moment_gets_that_moment_and_brings_nothing_back():
    machine = filled()
    view = machine.state.view
    view.memory.clear()
    row, steps = view.row("c", "d2"), query_steps(view, FIND_ALL, as_text=True)
    capture = view.capture()
    machine.apply(Delete("c", "d2"), Put("c", "d1", pack_document({"n": 50})))

    assert msgspec.json.decode(view.text(("c", "d2"), row))["n"] == 2
    old = capture.row("c", "d1")
    assert msgspec.json.decode(view.text_of(capture.key("c", "d1"), old))["n"] == 1
    capture.release()
    assert len(view.memory) == 0
    assert [msgspec.json.decode(found)["n"] for found in finish(steps).documents] == [0, 50]
    assert len(view.memory) == 2


def test_pages_of_queries_and_point_reads_share_what_is_in_memory():
    machine = filled()
    view = machine.state.view
    page = finish(query_steps(view, parse_query("c", {"explain": True}), as_text=True))
    assert [msgspec.json.decode(found)["n"] for found in page.documents] == [0, 1, 2]
    assert page.plan["tiers"] == {"memory": 3, "ssd": 3, "distributed": 0, "archive": 0}
    projected = parse_query("c", {"projection": ["n"]})
    found = finish(query_steps(view, projected, as_text=True)).documents
    assert [document["n"] for document in found] == [0, 1, 2]
    assert counts(machine) == (3, 3)


def test_a_page_goes_on_where_it_ended_also_when_it_is_text():
    machine = filled()
    seen: list[int] = []
    after = None
    while True:
        body = {"limit": 1, "sort": {"n": -1}} | ({"after": after} if after else {})
        page = finish(query_steps(machine.state.view, parse_query("c", body), as_text=True))
        seen += [msgspec.json.decode(found)["n"] for found in page.documents]
        after = page.next
        if after is None:
            break
    assert seen == [2, 1, 0]


def test_a_cold_document_is_kept_as_whole_as_it_is_answered():
    machine = cold_machine(put("a", n=1), put("b", n=2))
    view = machine.state.view
    stub, body = view.row("c", "a"), warm(machine, "a").document
    assert is_stub(stub)
    whole = stub[:24] + body
    assert msgspec.json.decode(view.text(("c", "a"), whole))["n"] == 1
    assert len(view.memory) == 1
    machine.apply(warm(machine, "a"))
    assert asked(machine, "a")["n"] == 1
    assert counts(machine) == (1, 1)
    moves = view.tiers.moves
    assert (moves.segments_sealed, moves.documents_sealed, moves.documents_warmed) == (1, 2, 1)


def test_tiers_add_up_to_all_documents():
    machine = Machine()
    machine.apply(tiered())
    machine.apply(put("a"), put("b"), Put("c", "short", pack_document({})))
    pass_time(machine)
    tiers = machine.state.view.tier_totals()
    assert {name: found[0] for name, found in tiers.items()} == {
        "ssd": 1,
        "distributed": 2,
        "archive": 0,
    }
    assert sum(found[1] for found in tiers.values()) == machine.state.view.stats().bytes


@given(
    bytes_max=st.integers(0, 40 * ENTRY_BYTES),
    asks=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.booleans()), max_size=60),
)
def test_memory_is_never_over_its_bytes_and_never_gives_the_text_of_another_row(bytes_max, asks):
    memory = Memory(bytes_max)
    for number, version, forgets in asks:
        key = b"d\0\0\0" + bytes([number % 2]) + b"%d" % number
        row = bytes(7) + bytes([version]) + bytes(16) + pack_document({"v": version})
        text = render_text(str(number), row)
        assert memory.find(key, row) in {None, text}
        memory.keep(key, row, text)
        if forgets:
            memory.forget(key)
            assert memory.find(key, row) is None
        assert memory.size_bytes <= bytes_max
        held = [memory.held(b"d\0\0\0" + bytes([n])) for n in range(2)]
        assert sum(documents for documents, _ in held) == len(memory)
        assert sum(size for _, size in held) == memory.size_bytes


def test_what_was_not_asked_for_longest_makes_room():
    row = bytes(24) + pack_document({"n": 1})
    text = render_text("k1", row)
    size = len(b"d\0\0\0\0k1") + len(row) + len(text) + ENTRY_BYTES
    memory = Memory(9 * size)
    keys = [b"d\0\0\0\0k%d" % n for n in range(10)]
    for key in keys[:9]:
        memory.keep(key, row, text)
    assert memory.find(keys[0], row) == text
    memory.keep(keys[9], row, text)
    assert memory.evictions == 1
    assert memory.find(keys[1], row) is None
    assert memory.find(keys[0], row) == text


def test_a_document_that_would_push_most_others_out_is_not_kept():
    row = bytes(24) + pack_document({"t": "y" * 1000})
    memory = Memory(8 * 1000)
    memory.keep(b"d\0\0\0\0k", row, render_text("k", row))
    assert len(memory) == 0
