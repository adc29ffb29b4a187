"""From the JSON of a schema to what checks documents.

Every schema inside the schema becomes a node once, under its JSON Pointer; a reference is an edge
to another node. Edges that stay at the same value must not form a circle: such a schema would refer
to itself without end.
"""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

import re2  # type: ignore[import-untyped]  # The wheel carries no stubs.

from dataplane.documents.errors import INVALID, Refusal
from dataplane.documents.schemas import applicators
from dataplane.documents.schemas.keywords import PLAIN, SchemaError
from dataplane.documents.schemas.run import Fault, Marks, Node, Run, Search, TooCostlyError
from dataplane.documents.values import Json, escape_pointer, unpack_document

NODES_MAX: Final = 2_000
LEVELS_MAX: Final = 64
PATTERNS_MAX: Final = 64
PATTERN_LENGTH_MAX: Final = 500
PATTERN_MEMORY_BYTES: Final = 128 * 1024
PATTERN_STEPS_PER_UNIT: Final = 256
"""At worst a pattern is tried at every character with each step of its program."""
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
UNSUPPORTED: Final = ("$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor")
_DATA: Final = frozenset({"enum", "const", "default", "examples"})
"""Keywords whose values are no schemas, whatever they look like."""
_NAMED: Final = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs"})
"""Keywords whose values are no schemas but name some."""


class Schema:
    """A compiled schema."""

    def __init__(self, node: Node, *, tracks: bool) -> None:
        self._node = node
        self._tracks = tracks

    def faults(self, document: Json, size_bytes: int) -> list[Fault]:
        """Return what does not fit, at most a few dozen faults; nothing when the document fits."""
        run = Run(size_bytes, tracks=self._tracks)
        try:
            fits = self._node.fits(document, run, Marks() if self._tracks else None)
        except TooCostlyError as error:
            return [("", str(error))]
        return [] if fits else run.faults

    def check(self, body: bytes) -> None:
        """Refuse a packed document that does not fit.

        Raises:
            Refusal: `invalid`, with pointers.
        """
        faults = self.faults(unpack_document(body), len(body))
        if faults:
            raise Refusal(INVALID, "the document does not fit the schema", errors=tuple(faults))


class Compiler:
    """Makes nodes, and knows those that are made."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self.tracks = False
        self._nodes: dict[str, Node] = {}
        self._anchors: dict[str, str] = {}
        self._edges: dict[str, list[str]] = {}
        self._new: list[tuple[Node, Json]] = []
        self._patterns = 0

    def compile(self) -> Schema:
        """Return the schema.

        Raises:
            SchemaError: It cannot be followed.
        """
        self._survey(self.root, "", 0, is_named=False)
        node = self.node("", self.root)
        # One after the other and not one inside the other: references may form long chains.
        while self._new:
            self._fill(*self._new.pop())
        self._refuse_circles()
        return Schema(node, tracks=self.tracks)

    def _survey(self, value: Any, pointer: str, level: int, *, is_named: bool) -> None:
        """Find anchors, and what is not supported, before anything refers to it."""
        if level > LEVELS_MAX:
            raise SchemaError(f"more than {LEVELS_MAX} levels deep", pointer)
        if isinstance(value, list):
            for index, item in enumerate(value):
                self._survey(item, f"{pointer}/{index}", level + 1, is_named=False)
        if not isinstance(value, dict):
            return
        if not is_named:
            self._survey_keywords(value, pointer)
        for name, item in value.items():
            if is_named or name not in _DATA:
                below = f"{pointer}/{escape_pointer(name)}"
                self._survey(item, below, level + 1, is_named=not is_named and name in _NAMED)

    def _survey_keywords(self, value: Json, pointer: str) -> None:
        for name in UNSUPPORTED:
            if name in value:
                raise SchemaError("not supported", f"{pointer}/{name}")
        if "$id" in value and pointer:
            raise SchemaError("only the whole schema has an id", f"{pointer}/$id")
        self.tracks = self.tracks or "unevaluatedProperties" in value or "unevaluatedItems" in value
        anchor = value.get("$anchor")
        if isinstance(anchor, str):
            if anchor in self._anchors:
                raise SchemaError("the anchor occurs twice", f"{pointer}/$anchor")
            self._anchors[anchor] = pointer

    def node(self, pointer: str, schema: Any) -> Node:
        """Return the node of the schema at a pointer, making it when it is new.

        Raises:
            SchemaError: It is no schema, or there are too many.
        """
        known = self._nodes.get(pointer)
        if known is not None:
            return known
        if len(self._nodes) >= NODES_MAX:
            raise SchemaError(f"more than {NODES_MAX} schemas in one", pointer)
        node = self._nodes[pointer] = Node(pointer)
        self._edges[pointer] = []
        if schema is False:
            node.checks.append(lambda _value, run, _marks: run.fail("must not be here"))
        elif isinstance(schema, dict):
            self._new.append((node, schema))
        elif schema is not True:
            raise SchemaError("a schema is an object, true or false", pointer)
        return node

    def _fill(self, node: Node, schema: Json) -> None:
        dialect = schema.get("$schema", DIALECT)
        if not isinstance(dialect, str) or dialect.rstrip("#") != DIALECT:
            raise SchemaError(f"only {DIALECT} is understood", f"{node.pointer}/$schema")
        for name, plain in PLAIN.items():
            if name in schema:
                try:
                    check = plain(schema[name])
                except SchemaError as error:
                    pointer = f"{node.pointer}/{name}{error.pointer}"
                    raise SchemaError(error.detail, pointer) from error
                if check is not None:
                    node.checks.append(check)
        for name, applicator in applicators.ORDERED.items():
            if name in schema:
                check = applicator(self, schema, node.pointer)
                if check is not None:
                    node.checks.append(check)

    def child(self, parent: str, *parts: str | int, in_place: bool = False) -> Node:
        """Return the node of a schema below another one; `in_place`: for the same value.

        Raises:
            SchemaError: There is none.
        """
        pointer = parent + "".join([f"/{escape_pointer(str(part))}" for part in parts])
        node = self.node(pointer, self._at(pointer, pointer))
        if in_place:
            self._edges[parent].append(pointer)
        return node

    def referred(self, parent: str, reference: Any) -> Node:
        """Return the node that a reference leads to.

        Raises:
            SchemaError: It leads nowhere, or out of the schema.
        """
        place = f"{parent}/$ref"
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise SchemaError("only references into the same schema are followed", place)
        target = reference[1:]
        if target and not target.startswith("/"):
            if target not in self._anchors:
                raise SchemaError("there is no such anchor", place)
            pointer = self._anchors[target]
        else:
            pointer = unquote(target)
        node = self.node(pointer, self._at(pointer, place))
        self._edges[parent].append(pointer)
        return node

    def pattern(self, text: Any, pointer: str) -> Search:
        """Return the search for a pattern, in time linear in the text.

        Raises:
            SchemaError: It is none, or there are too many.
        """
        if not isinstance(text, str) or len(text) > PATTERN_LENGTH_MAX:
            raise SchemaError(f"a pattern of at most {PATTERN_LENGTH_MAX} characters", pointer)
        self._patterns += 1
        if self._patterns > PATTERNS_MAX:
            raise SchemaError(f"more than {PATTERNS_MAX} patterns", pointer)
        settings = re2.Options()
        settings.max_mem = PATTERN_MEMORY_BYTES
        settings.log_errors = False
        try:
            compiled = re2.compile(text, settings)
        except re2.error as error:
            raise SchemaError("not a pattern in RE2 syntax", pointer) from error
        find: Callable[[str], Any] = compiled.search
        steps = int(compiled.programsize)

        def search(value: str, run: Run) -> bool:
            run.spend(1 + len(value) * steps // PATTERN_STEPS_PER_UNIT)
            return find(value) is not None

        return search

    def _at(self, pointer: str, place: str) -> Any:
        value = self.root
        for part in pointer.split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(value, dict) and name in value:
                value = value[name]
            elif isinstance(value, list) and _is_index(name, len(value)):
                value = value[int(name)]
            else:
                raise SchemaError("there is no such schema", place)
        return value

    def _refuse_circles(self) -> None:
        """Refuse a schema that leads back to itself without a step into the value."""
        done: set[str] = set()
        for start in self._edges:
            stack: list[tuple[str, bool]] = [(start, False)]
            under: set[str] = set()
            while stack:
                pointer, is_left = stack.pop()
                if is_left:
                    under.discard(pointer)
                    done.add(pointer)
                elif pointer in under:
                    raise SchemaError("refers to itself without end", pointer)
                elif pointer not in done:
                    under.add(pointer)
                    stack.append((pointer, True))
                    stack += [(target, False) for target in self._edges[pointer]]


def _is_index(name: str, length: int) -> bool:
    """Say whether a part of a pointer names an element; more digits are not looked at."""
    is_number = name.isascii() and name.isdecimal() and len(name) <= len(str(length))
    return is_number and int(name) < length


def compile_schema(given: Any) -> Schema:
    """Return a schema as something that checks documents.

    Raises:
        Refusal: `invalid`, with a pointer to what cannot be followed.
    """
    try:
        return Compiler(given).compile()
    except SchemaError as error:
        errors = ((f"/schema{error.pointer}", error.detail),)
        raise Refusal(INVALID, f"the schema: {error.detail}", errors=errors) from error
