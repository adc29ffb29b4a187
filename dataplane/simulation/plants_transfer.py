"""Bugs planted into the copying of states."""

from collections.abc import Callable

from dataplane.consensus import tree
from dataplane.consensus.messages import TreeNodes, TreeRows
from dataplane.consensus.outcome import CopyStage
from dataplane.consensus.transfer import Transfer
from dataplane.documents import copying
from dataplane.documents.types import RequestView
from dataplane.simulation.application import MapApplication
from dataplane.simulation.planting import Patch


def install_unchecked() -> list[Patch]:
    """Parts of a copied state are believed, whatever their parents say of them."""
    believed: dict[bytes, bytes] = {}

    def on_nodes(self: Transfer, sender: int, message: TreeNodes, now_ms: int) -> None:
        question = self._question(sender, message.sequence)
        if question is not None:
            nodes = [(path, row) for path, row in message.nodes if path in question.nodes]
            believed.update({row: question.nodes.pop(path) for path, row in nodes})
            stage = CopyStage(message.sequence, nodes=tuple(nodes))
            self._answered(sender, stage, now_ms)

    def on_rows(self: Transfer, sender: int, message: TreeRows, now_ms: int) -> None:
        question = self._question(sender, message.sequence)
        if question is not None:
            rows = [(key, row) for key, row in message.rows if tree.hash_key(key) in question.rows]
            believed.update(
                {
                    tree.hash_key(key) + row: question.rows.pop(tree.hash_key(key))
                    for key, row in rows
                }
            )
            self._answered(sender, CopyStage(message.sequence, rows=tuple(rows)), now_ms)

    def node_digest(row: bytes) -> bytes:
        return believed.get(row) or tree.node_digest(row)

    def hash_entry(key_hash: bytes, value: bytes) -> bytes:
        return believed.get(key_hash + value) or tree.hash_entry(key_hash, value)

    return [
        (Transfer, "on_nodes", on_nodes),
        (Transfer, "on_rows", on_rows),
        (copying, "node_digest", node_digest),
        (copying, "hash_entry", hash_entry),
    ]


def copied_answers_unseen() -> list[Patch]:
    """Who copied a state has its requests ordered again, whatever answers the state holds."""

    def recorded(self: MapApplication, request: RequestView) -> None:
        del self, request

    return [(MapApplication, "recorded", recorded)]


TRANSFER_PLANTS: dict[str, Callable[[], list[Patch]]] = {
    plant.__name__: plant for plant in (install_unchecked, copied_answers_unseen)
}
