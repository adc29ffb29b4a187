"""The tree is a function of the rows, however they came to be."""

from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.consensus.tree import BUCKET_MAX
from dataplane.documents.replicated import PENDING_ENTRIES_MAX, ReplicatedStore
from dataplane.documents.tables import Batch
from dataplane.storage.engine import MemoryStore

type Rows = dict[bytes, bytes | None]


def reopened(store: MemoryStore) -> ReplicatedStore:
    return ReplicatedStore(store, lambda: None)


class Tree:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.tree = reopened(self.store)
        self.rows: dict[bytes, bytes] = {}
        self.sequence = 0

    def change(self, numbers: Rows) -> None:
        changes = {b"D" + key: value for key, value in numbers.items()}
        self.sequence += 1
        batch = Batch(self.store)
        batch.changes.update(changes)
        self.tree.commit(self.sequence, batch)
        for key, value in changes.items():
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value

    def rebuilt(self) -> bytes:
        other = Tree()
        other.change({key[1:]: value for key, value in self.rows.items()})
        return other.tree.root()


def numbered(numbers: range, value: bytes | None) -> Rows:
    return {b"%d" % number: value for number in numbers}


def test_growing_and_shrinking_pass_through_the_same_roots() -> None:
    tree, roots = Tree(), []
    step = BUCKET_MAX // 2 + 1
    for start in range(0, 20 * step, step):
        roots.append(tree.tree.root())
        tree.change(numbered(range(start, start + step), b"x"))
    for start in range(19 * step, -1, -step):
        tree.change(numbered(range(start, start + step), None))
        assert tree.tree.root() == roots.pop()
    tree.tree.retain(tree.sequence)
    assert [key for key, _ in tree.store.iterate(b"")] == [b"e"]


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.integers(0, 400), st.none() | st.integers(0, 3), max_size=120),
            st.booleans(),
        ),
        max_size=8,
    ),
    st.sampled_from([0, 20, 60, PENDING_ENTRIES_MAX]),
)
def test_incremental_equals_rebuilt(
    steps: list[tuple[dict[int, int | None], bool]], pending_max: int
) -> None:
    tree = Tree()
    tree.tree.pending_max = pending_max
    for changes, fold in steps:
        tree.change(
            {
                b"%d" % key: None if value is None else b"%d" % value
                for key, value in changes.items()
            }
        )
        if fold:
            tree.tree.root()
    assert reopened(tree.store).root() == tree.rebuilt()
    assert tree.tree.root() == tree.rebuilt()


def test_what_waits_for_the_next_root_is_bounded_and_survives_a_restart() -> None:
    tree = Tree()
    tree.tree.pending_max = 100
    tree.change(numbered(range(1_000), b"x"))
    assert tree.tree.pending_count <= 100
    tree.change(numbered(range(900), None))
    tree.change(numbered(range(500, 700), b"y"))
    assert tree.tree.pending_count <= 100
    # What was folded before its time is noted again: only a root says how far the tree is.
    after = reopened(tree.store)
    assert after.pending_count == 1_000
    assert after.root() == tree.rebuilt() == tree.tree.root()


def test_every_row_and_value_counts() -> None:
    tree = Tree()
    tree.change(numbered(range(500), b"x"))
    root = tree.tree.root()
    for changes in ({b"7": b"y"}, {b"7": None}, {b"new": b"x"}):
        tree.change(changes)
        assert tree.tree.root() != root
        tree.change({b"7": b"x", b"new": None})
        assert tree.tree.root() == root
