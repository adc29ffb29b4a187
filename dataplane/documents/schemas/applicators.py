"""The keywords that apply other schemas: to the same value, to its members, to its elements."""

from collections.abc import Callable
from typing import Any, Final, Protocol

from dataplane.documents.schemas.keywords import SchemaError, whole_number
from dataplane.documents.schemas.run import Check, Marks, Node, Run, Search
from dataplane.documents.values import Json

BRANCHES_MAX: Final = 200
PATTERN_TEXT_MAX: Final = 64 * 1024


class Nodes(Protocol):
    """Where the nodes of other schemas come from: a compiler."""

    def child(self, parent: str, *parts: str | int, in_place: bool = False) -> Node:
        """Return the node of a schema below another."""
        ...

    def referred(self, parent: str, reference: Any) -> Node:
        """Return the node that a reference leads to."""
        ...

    def pattern(self, text: Any, pointer: str) -> Search:
        """Return the search for a pattern."""
        ...


type Applicator = Callable[[Nodes, Json, str], Check | None]


def _members(schema: Json, name: str, pointer: str) -> list[str]:
    given = schema[name]
    if not isinstance(given, dict):
        raise SchemaError("an object of schemas is needed", f"{pointer}/{name}")
    return sorted(given)


def _branches(nodes: Nodes, schema: Json, name: str, pointer: str) -> list[Node]:
    given = schema[name]
    if not isinstance(given, list) or not 0 < len(given) <= BRANCHES_MAX:
        detail = f"a list of 1 to {BRANCHES_MAX} schemas is needed"
        raise SchemaError(detail, f"{pointer}/{name}")
    return [nodes.child(pointer, name, index, in_place=True) for index in range(len(given))]


# --- The same value -------------------------------------------------------------------------------


def _reference(nodes: Nodes, schema: Json, pointer: str) -> Check:
    return _in_place(nodes.referred(pointer, schema["$ref"]))


def _in_place(node: Node) -> Check:
    def check(value: Any, run: Run, marks: Marks | None) -> bool:
        own = None if marks is None else Marks()
        fits = node.fits(value, run, own)
        if fits and marks is not None and own is not None:
            marks.add(own)
        return fits

    return check


def _all_of(nodes: Nodes, schema: Json, pointer: str) -> Check:
    checks = [_in_place(node) for node in _branches(nodes, schema, "allOf", pointer)]

    def check(value: Any, run: Run, marks: Marks | None) -> bool:
        # All of them are looked at, so that every fault is told.
        return False not in [one(value, run, marks) for one in checks]

    return check


def _any_of(nodes: Nodes, schema: Json, pointer: str) -> Check:
    branches = _branches(nodes, schema, "anyOf", pointer)

    def check(value: Any, run: Run, marks: Marks | None) -> bool:
        # With marks every branch must be looked at; without, the first that fits will do.
        found = False
        for branch in branches:
            found = branch.fits_quietly(value, run, marks) or found
            if found and marks is None:
                break
        return found or run.fail("fits none of the alternatives")

    return check


def _one_of(nodes: Nodes, schema: Json, pointer: str) -> Check:
    branches = _branches(nodes, schema, "oneOf", pointer)

    def check(value: Any, run: Run, marks: Marks | None) -> bool:
        count = sum([branch.fits_quietly(value, run, marks) for branch in branches])
        if count > 1:
            return run.fail("fits more than one of the alternatives")
        return count == 1 or run.fail("fits none of the alternatives")

    return check


def _not(nodes: Nodes, _schema: Json, pointer: str) -> Check:
    node = nodes.child(pointer, "not", in_place=True)

    def check(value: Any, run: Run, marks: Marks | None) -> bool:
        own = None if marks is None else Marks()
        return not node.fits_quietly(value, run, own) or run.fail("fits what it must not fit")

    return check


def _if(nodes: Nodes, schema: Json, pointer: str) -> Check:
    condition = nodes.child(pointer, "if", in_place=True)
    branches = {
        outcome: _in_place(nodes.child(pointer, name, in_place=True))
        for outcome, name in ((True, "then"), (False, "else"))
        if name in schema
    }

    def check(value: Any, run: Run, marks: Marks | None) -> bool:
        branch = branches.get(condition.fits_quietly(value, run, marks))
        return branch is None or branch(value, run, marks)

    return check


def _dependent_schemas(nodes: Nodes, schema: Json, pointer: str) -> Check:
    keyword = "dependentSchemas"
    checks = [
        (name, _in_place(nodes.child(pointer, keyword, name, in_place=True)))
        for name in _members(schema, keyword, pointer)
    ]

    def check(value: Any, run: Run, marks: Marks | None) -> bool:
        if type(value) is not dict:
            return True
        return False not in [one(value, run, marks) for name, one in checks if name in value]

    return check


# --- Members --------------------------------------------------------------------------------------


class _Named:
    """Which schemas a member is looked at by, as `properties` and `patternProperties` say."""

    def __init__(self, nodes: Nodes, schema: Json, pointer: str) -> None:
        names = _members(schema, "properties", pointer) if "properties" in schema else []
        self.names = {name: nodes.child(pointer, "properties", name) for name in names}
        keyword = "patternProperties"
        texts = _members(schema, keyword, pointer) if keyword in schema else []
        self.patterns = [
            (nodes.pattern(text, f"{pointer}/{keyword}"), nodes.child(pointer, keyword, text))
            for text in texts
        ]

    def of(self, name: str, run: Run) -> list[Node]:
        """Return the schemas for a member."""
        found = [self.names[name]] if name in self.names else []
        for search, node in self.patterns:
            if len(name) <= PATTERN_TEXT_MAX and search(name, run):
                found.append(node)
        return found


def _objects(nodes: Nodes, schema: Json, pointer: str) -> Check:
    """Return the check of all keywords about members, which say together who is additional."""
    named = _Named(nodes, schema, pointer)
    extra = None
    if "additionalProperties" in schema:
        extra = nodes.child(pointer, "additionalProperties")

    def check(value: Any, run: Run, marks: Marks | None) -> bool:
        if type(value) is not dict:
            return True
        fits = True
        run.spend(len(value) // 8)
        for name in sorted(value):
            below = named.of(name, run) or ([] if extra is None else [extra])
            for node in below:
                fits = node.fits_below(value[name], name, run) and fits
            if below and marks is not None:
                marks.names.add(name)
            if not fits and run.quiet:
                break
        return fits

    return check


def _property_names(nodes: Nodes, _schema: Json, pointer: str) -> Check:
    node = nodes.child(pointer, "propertyNames")

    def check(value: Any, run: Run, _marks: Marks | None) -> bool:
        if type(value) is not dict:
            return True
        fits = True
        for name in sorted(value):
            if not node.fits_quietly(name, run, None):
                fits = run.fail("has a name that is not allowed", name)
        return fits

    return check


def _unevaluated_properties(nodes: Nodes, _schema: Json, pointer: str) -> Check:
    node = nodes.child(pointer, "unevaluatedProperties")

    def check(value: Any, run: Run, marks: Marks | None) -> bool:
        if type(value) is not dict or marks is None or marks.has_all:
            return True
        left = [name for name in sorted(value) if name not in marks.names]
        marks.has_all = True
        return False not in [node.fits_below(value[name], name, run) for name in left]

    return check


# --- Elements -------------------------------------------------------------------------------------


def _arrays(nodes: Nodes, schema: Json, pointer: str) -> Check:
    """Return the check of `prefixItems` and `items`, which say together who comes after."""
    given = schema.get("prefixItems", [])
    if not isinstance(given, list) or len(given) > BRANCHES_MAX:
        raise SchemaError("a list of schemas is needed", f"{pointer}/prefixItems")
    prefix = [nodes.child(pointer, "prefixItems", index) for index in range(len(given))]
    rest = nodes.child(pointer, "items") if "items" in schema else None

    def check(value: Any, run: Run, marks: Marks | None) -> bool:
        if type(value) is not list:
            return True
        fits = True
        for index, item in enumerate(value if rest is not None else value[: len(prefix)]):
            node = prefix[index] if index < len(prefix) else rest
            if node is not None and not node.fits_below(item, index, run):
                fits = False
                if run.quiet:
                    break
        if marks is not None:
            marks.prefix = max(marks.prefix, len(prefix))
            marks.has_all = marks.has_all or rest is not None
        return fits

    return check


def _contains(nodes: Nodes, schema: Json, pointer: str) -> Check:
    node = nodes.child(pointer, "contains")
    limits: dict[str, int] = {}
    for name in ("minContains", "maxContains"):
        if name in schema:
            try:
                limits[name] = whole_number(schema[name])
            except SchemaError as error:
                raise SchemaError(error.detail, f"{pointer}/{name}") from error
    least, most = limits.get("minContains", 1), limits.get("maxContains")

    def check(value: Any, run: Run, marks: Marks | None) -> bool:
        if type(value) is not list:
            return True
        found = [
            index
            for index, item in enumerate(value)
            if node.fits_quietly(item, run, Marks() if run.tracks else None)
        ]
        if marks is not None:
            marks.elements.update(found)
        if len(found) < least:
            return run.fail("has too few of the elements that it must contain")
        if most is not None and len(found) > most:
            return run.fail("has too many of the elements that it may contain")
        return True

    return check


def _unevaluated_items(nodes: Nodes, _schema: Json, pointer: str) -> Check:
    node = nodes.child(pointer, "unevaluatedItems")

    def check(value: Any, run: Run, marks: Marks | None) -> bool:
        if type(value) is not list or marks is None or marks.has_all:
            return True
        fits = True
        for index in range(marks.prefix, len(value)):
            if index not in marks.elements:
                fits = node.fits_below(value[index], index, run) and fits
        marks.has_all = True
        return fits

    return check


def _pattern(nodes: Nodes, schema: Json, pointer: str) -> Check:
    search = nodes.pattern(schema["pattern"], f"{pointer}/pattern")

    def check(value: Any, run: Run, _marks: Marks | None) -> bool:
        if type(value) is not str:
            return True
        if len(value) > PATTERN_TEXT_MAX:
            return run.fail(f"must have at most {PATTERN_TEXT_MAX} characters for its pattern")
        return search(value, run) or run.fail("does not match the pattern")

    return check


def _definitions(nodes: Nodes, schema: Json, pointer: str) -> None:
    """Look at schemas that are only referred to, so that none of them is wrong."""
    for name in _members(schema, "$defs", pointer):
        nodes.child(pointer, "$defs", name)


def _once(first: str, applicator: Applicator) -> Applicator:
    """Return what does the work of several keywords at the first of them that is there."""

    def apply(nodes: Nodes, schema: Json, pointer: str) -> Check | None:
        group = next(names for names in _GROUPS if first in names)
        present = [name for name in group if name in schema]
        return applicator(nodes, schema, pointer) if present[0] == first else None

    return apply


_GROUPS: Final = (
    ("properties", "patternProperties", "additionalProperties"),
    ("prefixItems", "items"),
)

ORDERED: Final[dict[str, Applicator]] = {
    "$defs": _definitions,
    "pattern": _pattern,
    **{name: _once(name, _objects) for name in _GROUPS[0]},
    "propertyNames": _property_names,
    **{name: _once(name, _arrays) for name in _GROUPS[1]},
    "contains": _contains,
    "$ref": _reference,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "if": _if,
    "dependentSchemas": _dependent_schemas,
    # After all that looks at members and elements of the same value.
    "unevaluatedProperties": _unevaluated_properties,
    "unevaluatedItems": _unevaluated_items,
}
"""In the order in which they are checked."""
