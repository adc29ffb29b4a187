"""Update operators: named changes of parts of a document, all of them or none."""

import copy
import itertools
from collections.abc import Callable
from typing import Any, Final

from dataplane.documents.errors import invalid
from dataplane.documents.ordering import sort_key
from dataplane.documents.values import DEPTH_MAX, INT_MAX, INT_MIN, Json, escape_pointer

PATHS_MAX: Final = 1_000
_MISSING: Final = object()

type Change = Callable[[Any, Any, str], Any]
"""(old value or _MISSING, operand, pointer) -> new value or _MISSING."""


def apply_update(document: Json, operators: Json) -> Json:
    """Return the document after every operator; the argument stays as it is.

    Raises:
        Refusal: `invalid`, with a pointer into the operators.
    """
    result = copy.deepcopy(document)
    changes = list(_changes(operators))
    _check_conflicts([path for _, path, _, _ in changes])
    for name, path, operand, pointer in changes:
        if name == "$rename":
            _rename(result, path, operand, pointer)
        else:
            _change(result, path, operand, (_CHANGES[name], pointer))
    return result


def _changes(operators: Json) -> list[tuple[str, tuple[str, ...], Any, str]]:
    if not operators:
        raise invalid("", "at least one operator is needed")
    found: list[tuple[str, tuple[str, ...], Any, str]] = []
    for name in sorted(operators):
        fields = operators[name]
        pointer = f"/{escape_pointer(name)}"
        if name not in _CHANGES and name != "$rename":
            raise invalid(pointer, "unknown update operator")
        if not isinstance(fields, dict) or not fields:
            raise invalid(pointer, "an object of paths is needed")
        for path in sorted(fields):
            found.append((name, _split(path, pointer), fields[path], _join(pointer, path)))
            if name == "$rename":
                target = fields[path]
                if not isinstance(target, str):
                    raise invalid(_join(pointer, path), "the new name must be a string")
                _split(target, _join(pointer, path))
    if len(found) > PATHS_MAX:
        raise invalid("", f"more than {PATHS_MAX} paths")
    return found


def _split(path: str, pointer: str) -> tuple[str, ...]:
    parts = tuple(path.split("."))
    if "" in parts or len(parts) > DEPTH_MAX or any(part.startswith("$") for part in parts):
        raise invalid(_join(pointer, path), "not a valid path")
    if parts[0].startswith("_"):
        raise invalid(_join(pointer, path), "names that start with _ are reserved")
    return parts


def _join(pointer: str, path: str) -> str:
    return f"{pointer}/{escape_pointer(path)}"


def _check_conflicts(paths: list[tuple[str, ...]]) -> None:
    ordered = sorted(paths)
    for left, right in itertools.pairwise(ordered):
        if right[: len(left)] == left:
            raise invalid("", f"{'.'.join(left)} and {'.'.join(right)} overlap")


def _change(document: Json, path: tuple[str, ...], operand: Any, how: tuple[Change, str]) -> None:
    change, pointer = how
    creates = change is not _unset and change is not _pull
    parent = _descend(document, path, pointer, creates=creates)
    if parent is None:
        return
    key = _key(parent, path[-1], pointer, creates=creates)
    old = _read(parent, key)
    new = change(old, operand, pointer)
    _write(parent, key, new)


def _descend(document: Json, path: tuple[str, ...], pointer: str, *, creates: bool) -> Any:
    """Return the container of the last part; None when it is not there and not to be created."""
    current: Any = document
    for part in path[:-1]:
        key = _key(current, part, pointer, creates=creates)
        value = _read(current, key)
        if value is _MISSING:
            if not creates:
                return None
            value = {}
            _write(current, key, value)
        if not isinstance(value, dict | list):
            if not creates:
                return None
            raise invalid(pointer, f"{part} is neither an object nor an array")
        current = value
    return current


def _key(container: Any, part: str, pointer: str, *, creates: bool) -> str | int:
    if isinstance(container, dict):
        return part
    if not (part.isascii() and part.isdigit() and len(part) < 8):
        raise invalid(pointer, f"{part} is not an array index")
    index = int(part)
    if creates and index > len(container):
        raise invalid(pointer, f"index {index} is behind the end of the array")
    return index


def _read(container: Any, key: str | int) -> Any:
    if isinstance(container, dict):
        return container.get(key, _MISSING)
    assert isinstance(key, int)
    return container[key] if key < len(container) else _MISSING


def _write(container: Any, key: str | int, value: Any) -> None:
    if value is _MISSING:
        if isinstance(container, dict):
            container.pop(key, None)
        elif isinstance(key, int) and key < len(container):
            container[key] = None
    elif isinstance(container, list) and key == len(container):
        container.append(value)
    else:
        container[key] = value


def _rename(document: Json, path: tuple[str, ...], target: str, pointer: str) -> None:
    parent = _descend(document, path, pointer, creates=False)
    if parent is None:
        return
    if not isinstance(parent, dict):
        raise invalid(pointer, "an array element has no name")
    if path[-1] not in parent:
        return
    new_path = tuple(target.split("."))
    if new_path[: len(path)] == path or path[: len(new_path)] == new_path:
        raise invalid(pointer, "the old and the new name overlap")
    value = parent.pop(path[-1])
    _change(document, new_path, value, (_set, pointer))


def _set(_old: Any, operand: Any, _pointer: str) -> Any:
    return copy.deepcopy(operand)


def _unset(_old: Any, _operand: Any, _pointer: str) -> Any:
    return _MISSING


def _number(value: Any, pointer: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid(pointer, "not a number")
    return value


def _in_range(value: float, pointer: str) -> int | float:
    if isinstance(value, int) and not INT_MIN <= value <= INT_MAX:
        raise invalid(pointer, "the result does not fit 64 bits")
    return value


def _arithmetic(combine: Callable[[Any, Any], Any], missing: int) -> Change:
    def change(old: Any, operand: Any, pointer: str) -> Any:
        amount = _number(operand, pointer)
        base = type(amount)(missing) if old is _MISSING else _number(old, pointer)
        try:
            return _in_range(combine(base, amount), pointer)
        except OverflowError as error:
            raise invalid(pointer, "the result is out of range") from error

    return change


def _extreme(*, largest: bool) -> Change:
    def change(old: Any, operand: Any, _pointer: str) -> Any:
        if old is _MISSING:
            return operand
        larger = sort_key(operand) > sort_key(old)
        smaller = sort_key(operand) < sort_key(old)
        return operand if (larger if largest else smaller) else old

    return change


def _items(operand: Any, pointer: str) -> list[Any]:
    if isinstance(operand, dict) and any(name.startswith("$") for name in operand):
        if list(operand) != ["$each"] or not isinstance(operand["$each"], list):
            raise invalid(pointer, "only $each with an array is known here")
        return list(operand["$each"])
    return [operand]


def _array(old: Any, pointer: str) -> list[Any]:
    if old is _MISSING:
        return []
    if not isinstance(old, list):
        raise invalid(pointer, "the field is not an array")
    return list(old)


def _push(old: Any, operand: Any, pointer: str) -> Any:
    return _array(old, pointer) + copy.deepcopy(_items(operand, pointer))


def _add_to_set(old: Any, operand: Any, pointer: str) -> Any:
    result = _array(old, pointer)
    keys = {sort_key(item) for item in result}
    for item in _items(operand, pointer):
        key = sort_key(item)
        if key not in keys:
            keys.add(key)
            result.append(copy.deepcopy(item))
    return result


def _pull(old: Any, operand: Any, pointer: str) -> Any:
    if old is _MISSING:
        return old
    if isinstance(operand, dict) and any(name.startswith("$") for name in operand):
        raise invalid(pointer, "conditions are not supported, only values")
    # Once, and not for each item: both may be as long as a document.
    wanted = sort_key(operand)
    return [item for item in _array(old, pointer) if sort_key(item) != wanted]


_CHANGES: Final[dict[str, Change]] = {
    "$set": _set,
    "$unset": _unset,
    "$inc": _arithmetic(lambda base, amount: base + amount, 0),
    "$mul": _arithmetic(lambda base, amount: base * amount, 0),
    "$min": _extreme(largest=False),
    "$max": _extreme(largest=True),
    "$push": _push,
    "$pull": _pull,
    "$addToSet": _add_to_set,
}
