"""Filters and sort orders written as Python, compiled once for each shape.

Theory of operation. The text that is compiled is put together from the nodes of a checked plan and
from nothing else: names of fields and values never become part of it. They are bound to numbered
parameters of a function `build`, which the text defines and which returns the function wanted. So
queries that differ in values only, or in names, share one text, and the compiled text is kept under
it. An expression reads a top-level field through a `Root`: an attribute of a decoded row, or a
member of an object.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple, assert_never

from dataplane.documents.ordering import sort_key
from dataplane.documents.paths import LONG, MISSING, terminals
from dataplane.documents.tables import (
    HEADER_BYTES,
    decode_document_header,
    document_id,
)
from dataplane.query.nodes import (
    Among,
    Condition,
    ElementFits,
    ElementMeets,
    Equal,
    Every,
    Matched,
    Negation,
    Node,
    OfType,
    Ordered,
    Present,
    Sized,
    Some,
    Test,
)
from dataplane.query.values import (
    NUMBERS,
    among,
    falling_key,
    greatest,
    least,
    ordered,
    rising_key,
    same_as,
)
from dataplane.query.work import weigh

type Root = Callable[[str], str]
"""Name of a top-level field to the expression that reads it, `MISSING` when it is absent."""

SHAPES_MAX: Final = 256
_DIRECT_PARTS_MAX: Final = 4
_SYMBOLS: Final = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_HELPERS: Final[dict[str, Any]] = {
    "__builtins__": {
        "any": any,
        "bool": bool,
        "dict": dict,
        "float": float,
        "int": int,
        "len": len,
        "list": list,
        "str": str,
        "type": type,
    },
    "MISSING": MISSING,
    "NUMBERS": NUMBERS,
    "BULKY": frozenset({str, list, dict}),
    "HEADER": HEADER_BYTES,
    "terminals": terminals,
    "rising_key": rising_key,
    "sort_key": sort_key,
    "weigh": weigh,
    "falling_key": falling_key,
    "least": least,
    "greatest": greatest,
    "document_id": document_id,
    "decode_document_header": decode_document_header,
}


class Value(NamedTuple):
    """The expression of a value where it is first used, and where it is used again."""

    first: str
    again: str


class Code:
    """The constants and temporary names of one text."""

    def __init__(self) -> None:
        self.constants: list[Any] = []
        self._names = 0

    def bind(self, value: Any) -> str:
        """Return the name by which the text knows a constant."""
        self.constants.append(value)
        return f"k{len(self.constants) - 1}"

    def fresh(self) -> str:
        """Return an unused temporary name."""
        self._names += 1
        return f"v{self._names}"

    def mark(self) -> int:
        """Return where the temporary names stand."""
        return self._names

    def rewind(self, mark: int) -> None:
        """Let names after a mark be used again: what was written since does not need them."""
        self._names = mark

    def member(self, of: str) -> Root:
        """Return the root of an object that is held by name `of`; without a name, it itself."""
        return lambda name: f"{of}.get({self.bind(name)}, MISSING)" if name else of

    def function(self, parameters: str, lines: list[str]) -> Callable[..., Any]:
        """Return the function with a body; compiling is skipped for a known shape."""
        names = ", ".join(f"k{index}" for index in range(len(self.constants)))
        body = "\n".join(f"        {line}" for line in lines)
        source = f"def build({names}):\n    def run({parameters}):\n{body}\n    return run\n"
        run: Callable[..., Any] = _builder(source)(*self.constants)
        return run


@lru_cache(SHAPES_MAX)
def _builder(source: str) -> Callable[..., Any]:
    namespace = dict(_HELPERS)
    exec(compile(source, "<plan>", "exec"), namespace)  # noqa: S102 - written by this module
    builder: Callable[..., Any] = namespace["build"]
    return builder


def compiled_count() -> int:
    """Return how many texts were compiled since the start."""
    return _builder.cache_info().misses


def filter_text(code: Code, node: Node, root: Root) -> str:
    """Return the expression of a filter; `work` counts the elements of long arrays."""
    match node:
        case Every(parts):
            if len(parts) == 1:
                return filter_text(code, parts[0], root)
            return _joined(" and ", _texts(code, parts, root), "True")
        case Some(parts):
            return _joined(" or ", _texts(code, parts, root), "False")
        case Negation(part):
            return f"(not {filter_text(code, part, root)})"
        case Condition(path, test):
            return _condition(code, path, test, root)
        case _:
            assert_never(node)


def _texts(code: Code, parts: tuple[Node, ...], root: Root) -> list[str]:
    """Return the texts of parts that use the same temporary names one after the other.

    The compiler takes time with the square of the number of names.
    """
    texts: list[str] = []
    mark = code.mark()
    for part in parts:
        code.rewind(mark)
        texts.append(filter_text(code, part, root))
    return texts


def _joined(word: str, texts: list[str], empty: str) -> str:
    return f"({word.join(texts)})" if texts else empty


def _condition(code: Code, path: tuple[str, ...], test: Test, root: Root) -> str:
    if not path:
        element = root("")
        return _test(code, test, Value(element, element), spread=False)
    expression = root(path[0])
    if len(path) == 1:
        name = code.fresh()
        return _test(code, test, Value(f"({name} := {expression})", name), spread=True)
    rest = code.bind(path[1:])
    item = code.fresh()
    if len(path) > _DIRECT_PARTS_MAX or isinstance(test, ElementMeets | ElementFits):
        inner = _test(code, test, Value(item, item), spread=True)
        return f"any({inner} for {item} in terminals({expression}, {rest}, work.spend))"
    # Objects all the way are the common case, and need no generator.
    names = [code.fresh() for _ in path]
    steps = [f"type({names[0]} := {expression}) is dict"]
    for name, before, part in zip(names[1:-1], names, path[1:-1], strict=False):
        steps.append(f"type({name} := {before}.get({code.bind(part)}, MISSING)) is dict")
    last = f"({names[-1]} := {names[-2]}.get({code.bind(path[-1])}, MISSING))"
    direct = _test(code, test, Value(last, names[-1]), spread=True)
    around = _test(code, test, Value(item, item), spread=True)
    way = f"any({around} for {item} in terminals({names[0]}, {rest}, work.spend))"
    return f"({direct} if {' and '.join(steps)} else {way})"


def _test(  # noqa: C901, PLR0911, PLR0912 - a table
    code: Code, test: Test, value: Value, *, spread: bool
) -> str:
    first, again = value
    match test:
        case Equal(operand):
            return _equal(code, operand, value, spread=spread)
        case Among(operands):
            if all(isinstance(operand, str) for operand in operands):
                text = f"type({{}}) is str and {{again}} in {code.bind(frozenset(operands))}"
                return _each(text, code, value, spread=spread)
            return _called(code, among(operands), value, spread=spread)
        case Ordered(operator, operand):
            return _ordered(code, (operator, operand), value, spread=spread)
        case Present():
            return f"({first} is not MISSING)"
        case OfType(kinds):
            return _each(f"type({{}}) in {code.bind(kinds)}", code, value, spread=spread)
        case Matched(search):
            text = f"type({{}}) is str and {code.bind(search)}({{again}}) is not None"
            return _each(text, code, value, spread=spread)
        case Sized(count):
            return f"(type({first}) is list and len({again}) == {code.bind(count)})"
        case ElementMeets(part):
            item = code.fresh()
            inner = filter_text(code, part, lambda _name: item)
            return f"({_is_array(first, again)} and any({inner} for {item} in {again}))"
        case ElementFits(part):
            item = code.fresh()
            inner = filter_text(code, part, code.member(item))
            fits = f"any(type({item}) is dict and {inner} for {item} in {again})"
            return f"({_is_array(first, again)} and {fits})"
        case _:
            assert_never(test)


def _equal(code: Code, operand: Any, value: Value, *, spread: bool) -> str:
    first, again = value
    if operand is None:
        elements = f" or {_is_array(again, again)} and None in {again}" if spread else ""
        return f"({first} is None or {again} is MISSING{elements})"
    if isinstance(operand, bool):
        return _each(f"{{}} is {operand}", code, value, spread=spread)
    if isinstance(operand, dict | list):
        return _called(code, same_as(operand), value, spread=spread)
    name = code.bind(operand)
    if not isinstance(operand, str) and operand in {0, 1}:
        # Python takes true for 1 and false for 0.
        return _each(f"{{}} == {name} and type({{again}}) is not bool", code, value, spread=spread)
    elements = f" or {_is_array(again, again)} and {name} in {again}" if spread else ""
    return f"({first} == {name}{elements})"


def _ordered(code: Code, asked: tuple[str, Any], value: Value, *, spread: bool) -> str:
    operator, operand = asked
    if isinstance(operand, bool | dict | list):
        return _called(code, ordered(operator, operand), value, spread=spread)
    kind = "is str" if isinstance(operand, str) else "in NUMBERS"
    comparison = f"{{again}} {_SYMBOLS[operator]} {code.bind(operand)}"
    return _each(f"type({{}}) {kind} and {comparison}", code, value, spread=spread)


def _called(code: Code, holds: Callable[[Any], bool], value: Value, *, spread: bool) -> str:
    return _each(f"{code.bind(holds)}({{}})", code, value, spread=spread)


def _each(template: str, code: Code, value: Value, *, spread: bool) -> str:
    """Return the text of a test of the value, or of any of its elements too.

    In the template `{}` stands for the first use and `{again}` for the others.
    """
    first, again = value
    text = template.format(first, again=again)
    if not spread:
        return f"({text})"
    item = code.fresh()
    inner = template.format(item, again=item)
    return f"({text} or {_is_array(again, again)} and any({inner} for {item} in {again}))"


def _is_array(first: str, again: str) -> str:
    """Return the text that says whether a value is an array, and counts the work for a long one."""
    return f"type({first}) is list and (len({again}) < {LONG} or work.spend({again}))"
