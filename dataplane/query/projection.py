"""Keeping only the named paths of a document."""

from collections.abc import Iterable
from typing import Any

from dataplane.documents.partial_reading import META
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
        return document if self._tree is None else keep(document, self._tree)


def drop(value: dict[str, Any], tree: Tree) -> dict[str, Any]:
    """Return an object without what the tree names."""
    left: dict[str, Any] = {}
    for name, item in value.items():
        if name not in tree:
            left[name] = item
            continue
        below = tree[name]
        if below is None:
            continue
        if isinstance(item, list):
            left[name] = [drop(each, below) if isinstance(each, dict) else each for each in item]
        else:
            left[name] = drop(item, below) if isinstance(item, dict) else item
    return left


def tree_of(paths: Iterable[str]) -> Tree:
    """Return the tree of dotted paths."""
    tree: Tree = {}
    for path in paths:
        _insert(tree, path.split("."))
    return tree


def with_value(document: Document, path: tuple[str, ...], value: Any) -> Document:
    """Return an object with a value at a path; what is no object on the way is replaced."""
    name, *rest = path
    if rest:
        inner = document.get(name)
        value = with_value(inner if isinstance(inner, dict) else {}, tuple(rest), value)
    return {**document, name: value}


def without_value(document: Document, path: tuple[str, ...]) -> Document:
    """Return an object without what a path leads to by objects alone."""
    name, *rest = path
    inner = document.get(name)
    if not rest:
        return {key: item for key, item in document.items() if key != name}
    if not isinstance(inner, dict):
        return document
    return {**document, name: without_value(inner, tuple(rest))}


def _insert(tree: Tree, parts: list[str]) -> None:
    for part in parts[:-1]:
        below = tree.setdefault(part, {})
        if below is None:
            return
        tree = below
    tree[parts[-1]] = None


def keep(value: dict[str, Any], tree: Tree) -> dict[str, Any]:
    """Return what the tree names of an object."""
    kept: dict[str, Any] = {}
    for name, item in value.items():
        if name in tree:
            below = tree[name]
            if below is None:
                kept[name] = item
            elif isinstance(item, dict):
                kept[name] = keep(item, below)
            elif isinstance(item, list):
                kept[name] = [keep(each, below) for each in item if isinstance(each, dict)]
    return kept
