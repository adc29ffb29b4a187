"""What a GraphQL document may cost, found out before anything is done for it.

Fragments are measured once and count wherever they are spread, so that a small document cannot
unfold into a large one.
"""

from dataclasses import dataclass
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

from dataplane.gateways.errors import Problem

SOURCE_BYTES_MAX: Final = 64 * 1024
TOKENS_MAX: Final = 4_000
DEPTH_MAX: Final = 16
"""The question that tools ask about the schema is 13 deep."""
FIELDS_MAX: Final = 300
COST_MAX: Final = 100
COSTS: Final = {
    "document": 1,
    "documents": 10,
    "collections": 5,
    "stats": 2,
    "create": 5,
    "put": 5,
    "patch": 5,
    "delete": 5,
    "transact": 20,
    "changes": 10,
    "__schema": 20,
    "__type": 5,
}
"""What a field of the root costs; the fields below it cost nothing more."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a selection is."""

    depth: int = 0
    fields: int = 0
    cost: int = 0


class Bounds:
    """Measures the operations of one document."""

    def __init__(self, document: DocumentNode) -> None:
        self._fragments = {
            node.name.value: node
            for node in document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        self._known: dict[str, Size | None] = {}

    def check(self, operation: OperationDefinitionNode) -> None:
        """Refuse an operation that is too large.

        Raises:
            Problem: `too_large`, `invalid`.
        """
        size = self._measure(operation.selection_set)
        for name, value, limit in (
            ("levels", size.depth, DEPTH_MAX),
            ("fields", size.fields, FIELDS_MAX),
            ("points of cost", size.cost, COST_MAX),
        ):
            if value > limit:
                detail = f"the operation has {value} {name}, at most {limit} are allowed"
                raise Problem("too_large", detail, {"limit": limit, "used": value})

    def _measure(self, selections: SelectionSetNode | None) -> Size:
        depth = fields = cost = 0
        for node in () if selections is None else selections.selections:
            match node:
                case FieldNode():
                    below = self._measure(node.selection_set)
                    size = Size(below.depth + 1, below.fields + 1, COSTS.get(node.name.value, 0))
                case InlineFragmentNode():
                    size = self._measure(node.selection_set)
                case FragmentSpreadNode():
                    size = self._spread(node.name.value)
                case _:
                    size = Size()
            depth = max(depth, size.depth)
            fields, cost = fields + size.fields, cost + size.cost
        return Size(depth, fields, cost)

    def _spread(self, name: str) -> Size:
        if name not in self._fragments:
            return Size()
        if name not in self._known:
            self._known[name] = None
            self._known[name] = self._measure(self._fragments[name].selection_set)
        size = self._known[name]
        if size is None:
            raise Problem("invalid", f"the fragment {name[:64]} spreads itself")
        return size
