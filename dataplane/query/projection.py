"""Keeping only the named paths of a document."""

from typing import Any

from dataplane.query.rows import META
from dataplane.query.types import Document

type Tree = dict[str, "Tree | None"]
"""Name to the tree below it; None keeps everything below."""


class Projection:
    """A set of dotted paths to keep; the `_` fields are always kept."""

    def __init__(self, paths: tuple[str, ...] | None) -> None:
        self._tree: Tree | None = None
        if paths is not None:
            self._tree = dict.fromkeys(META)
            for path in paths:
                _insert(self._tree, path.split("."))

    def apply(self, document: Document) -> Document:
        """Return the kept part of a document."""
        return document if self._tree is None else _keep(document, self._tree)


def _insert(tree: Tree, parts: list[str]) -> None:
    for part in parts[:-1]:
        below = tree.setdefault(part, {})
        if below is None:
            return
        tree = below
    tree[parts[-1]] = None


def _keep(value: dict[str, Any], tree: Tree) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, item in value.items():
        if name in tree:
            below = tree[name]
            if below is None:
                kept[name] = item
            elif isinstance(item, dict):
                kept[name] = _keep(item, below)
            elif isinstance(item, list):
                kept[name] = [_keep(each, below) for each in item if isinstance(each, dict)]
    return kept
