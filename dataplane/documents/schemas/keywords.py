"""The keywords that look at one value and know nothing of other schemas."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final

from dataplane.documents.ordering import sort_key
from dataplane.documents.schemas.formats import FORMATS
from dataplane.documents.schemas.run import Check, Run

type Test = Callable[[Any, Run], bool]

VALUES_MAX: Final = 1_000
_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "number": (int, float),
    "string": (str,),
    "integer": (int,),
}
TYPES: Final = tuple(_KINDS)


class SchemaError(Exception):
    """A keyword that cannot be followed; `pointer` is below that of the keyword."""

    def __init__(self, detail: str, pointer: str = "") -> None:
        super().__init__(detail)
        self.detail, self.pointer = detail, pointer


def is_number(value: Any) -> bool:
    """Whether a value is a number: true and false are none."""
    return type(value) is int or type(value) is float


def is_of_type(value: Any, name: str) -> bool:
    """Whether a value is of a type, as JSON Schema means it: 1.0 is an integer."""
    if name == "integer" and type(value) is float:
        return bool(value.is_integer())
    return type(value) in _KINDS[name]


def _tested(kinds: tuple[type, ...], holds: Callable[[Any], bool], detail: str) -> Check:
    """Return a check of values of some types; others pass."""

    def check(value: Any, run: Run, _marks: object) -> bool:
        return type(value) not in kinds or holds(value) or run.fail(detail)

    return check


def whole_number(given: Any) -> int:
    """Return a limit of a size.

    Raises:
        SchemaError: It is none.
    """
    if not is_of_type(given, "integer") or given < 0:
        raise SchemaError("a whole number from 0 is needed")
    return int(given)


def type_(given: Any) -> Check:
    """The value is of one of these types."""
    names = given if isinstance(given, list) else [given]
    if not names or any(name not in TYPES for name in names) or len(set(names)) < len(names):
        raise SchemaError(f"one of {', '.join(TYPES)}, or a list of them")
    kinds, expected = tuple(names), " or ".join(names)

    def check(value: Any, run: Run, _marks: object) -> bool:
        for kind in kinds:
            if is_of_type(value, kind):
                return True
        return run.fail(f"must be of type {expected}")

    return check


def enum(given: Any) -> Check:
    """The value is one of these."""
    if not isinstance(given, list) or len(given) > VALUES_MAX:
        raise SchemaError(f"a list of at most {VALUES_MAX} values is needed")
    return _among(given, "is none of the values allowed here")


def const(given: Any) -> Check:
    """The value is this one."""
    return _among([given], "is not the value that must be here")


def _among(values: list[Any], detail: str) -> Check:
    keys = frozenset(map(sort_key, values))

    def check(value: Any, run: Run, _marks: object) -> bool:
        return _key(value, run) in keys or run.fail(detail)

    return check


def _key(value: Any, run: Run) -> Any:
    """Return what equal values have in common; making it is work for large ones."""
    if type(value) is dict or type(value) is list:
        run.spend(_size(value))
    elif type(value) is str:
        run.read(value)
    return sort_key(value)


def _size(value: Any) -> int:
    count, left = 0, [value]
    while left:
        item = left.pop()
        count += 1
        if type(item) is dict:
            left.extend(item.values())
        elif type(item) is list:
            left.extend(item)
    return count


def bound(name: str) -> Callable[[Any], Check]:
    """Return the keyword that bounds numbers."""
    holds: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
        "minimum": (lambda value, limit: bool(value >= limit), "at least"),
        "maximum": (lambda value, limit: bool(value <= limit), "at most"),
        "exclusiveMinimum": (lambda value, limit: bool(value > limit), "more than"),
        "exclusiveMaximum": (lambda value, limit: bool(value < limit), "less than"),
    }
    test, words = holds[name]

    def keyword(given: Any) -> Check:
        if not is_number(given):
            raise SchemaError("a number is needed")
        detail = f"must be {words} {given}"
        return _tested((int, float), lambda value: test(value, given), detail)

    return keyword


def multiple_of(given: Any) -> Check:
    """The number divides without a rest, as people write numbers: 0.3 is a multiple of 0.1."""
    if not is_number(given) or given <= 0:
        raise SchemaError("a number above 0 is needed")
    step = Fraction(repr(given))

    def holds(value: Any) -> bool:
        return (Fraction(repr(value)) / step).denominator == 1

    return _tested((int, float), holds, f"must be a multiple of {given}")


def size(kind: type, words: str, *, at_least: bool) -> Callable[[Any], Check]:
    """Return the keyword that bounds how many of something a value has."""

    def keyword(given: Any) -> Check:
        limit = whole_number(given)
        detail = f"must have at {'least' if at_least else 'most'} {limit} {words}"
        if at_least:
            return _tested((kind,), lambda value: len(value) >= limit, detail)
        return _tested((kind,), lambda value: len(value) <= limit, detail)

    return keyword


def unique_items(given: Any) -> Check:
    """No two elements are equal."""
    if not isinstance(given, bool):
        raise SchemaError("true or false is needed")

    def check(value: Any, run: Run, _marks: object) -> bool:
        if not given or type(value) is not list:
            return True
        run.spend(len(value))
        keys = {_key(item, run) for item in value}
        return len(keys) == len(value) or run.fail("must not have two equal elements")

    return check


def required(given: Any) -> Check:
    """These members are there."""
    names = name_list(given)

    def check(value: Any, run: Run, _marks: object) -> bool:
        if type(value) is not dict:
            return True
        run.spend(len(names) // 8)
        missing = [name for name in names if name not in value]
        for name in missing:
            run.fail("is required", name)
        return not missing

    return check


def name_list(given: Any) -> tuple[str, ...]:
    """Return a list of distinct names.

    Raises:
        SchemaError: It is none.
    """
    is_list = isinstance(given, list) and all(isinstance(name, str) for name in given)
    if not is_list or len(set(given)) < len(given) or len(given) > VALUES_MAX:
        raise SchemaError("a list of different names is needed")
    return tuple(given)


def dependent_required(given: Any) -> Check:
    """Where one member is, others are too."""
    if not isinstance(given, dict):
        raise SchemaError("an object of lists of names is needed")
    needs = [(name, name_list(given[name])) for name in sorted(given)]
    cost = sum(len(others) for _, others in needs) // 8

    def check(value: Any, run: Run, _marks: object) -> bool:
        if type(value) is not dict:
            return True
        run.spend(cost)
        fits = True
        for name, others in needs:
            for other in others:
                if name in value and other not in value:
                    fits = run.fail(f"is required beside {name}", other)
        return fits

    return check


def format_(given: Any) -> Check | None:
    """The text is of a format, if it is one that is asserted."""
    if not isinstance(given, str):
        raise SchemaError("the name of a format is needed")
    holds = FORMATS.get(given)
    if holds is None:
        return None

    def check(value: Any, run: Run, _marks: object) -> bool:
        if type(value) is not str:
            return True
        run.read(value)
        return holds(value) or run.fail(f"must be of the format {given}")

    return check


PLAIN: Final[dict[str, Callable[[Any], Check | None]]] = {
    "type": type_,
    "enum": enum,
    "const": const,
    "minimum": bound("minimum"),
    "maximum": bound("maximum"),
    "exclusiveMinimum": bound("exclusiveMinimum"),
    "exclusiveMaximum": bound("exclusiveMaximum"),
    "multipleOf": multiple_of,
    "minLength": size(str, "characters", at_least=True),
    "maxLength": size(str, "characters", at_least=False),
    "minItems": size(list, "elements", at_least=True),
    "maxItems": size(list, "elements", at_least=False),
    "minProperties": size(dict, "members", at_least=True),
    "maxProperties": size(dict, "members", at_least=False),
    "uniqueItems": unique_items,
    "required": required,
    "dependentRequired": dependent_required,
    "format": format_,
}
