"""Aggregations as a slow interpreter of plain documents, written apart from the stages."""

import copy
import functools
import math
from typing import Any

from tests.dataplane.query.reference import MISSING, compare, matches, ordered, reach


class RefusedError(Exception):
    """A function met a value that it does not work with."""


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def nothing(value: Any) -> bool:
    return value is None or value is MISSING


def order(left: Any, right: Any) -> int:
    if left is MISSING or right is MISSING:
        return (right is MISSING) - (left is MISSING)
    return compare(left, right)


def field(value: Any, parts: list[str]) -> Any:
    if not parts:
        return value
    if isinstance(value, dict):
        return field(value[parts[0]], parts[1:]) if parts[0] in value else MISSING
    if isinstance(value, list):
        found = [field(item, parts) for item in value if isinstance(item, dict)]
        return [item for item in found if item is not MISSING]
    return MISSING


def truth(value: Any) -> bool:
    return not (nothing(value) or value is False or (number(value) and value == 0))


def arithmetic(name: str, values: list[Any]) -> Any:
    if any(nothing(value) for value in values):
        return None
    if not all(number(value) for value in values):
        raise RefusedError(name)
    match name:
        case "$add":
            return functools.reduce(lambda x, y: x + y, values)
        case "$multiply":
            return functools.reduce(lambda x, y: x * y, values)
        case "$subtract":
            return values[0] - values[1]
        case "$divide":
            if values[1] == 0:
                raise RefusedError(name)
            return values[0] / values[1]
    raise AssertionError(name)


def call(document: Any, name: str, operand: Any) -> Any:  # noqa: C901, PLR0911, PLR0912
    if name == "$literal":
        return operand
    arguments = operand if isinstance(operand, list) else [operand]
    if name == "$cond":
        condition, yes, no = arguments
        return evaluate(document, yes if truth(evaluate(document, condition)) else no)
    if name == "$ifNull":
        for argument in arguments[:-1]:
            value = evaluate(document, argument)
            if not nothing(value):
                return value
        return evaluate(document, arguments[-1])
    if name == "$and":
        return all(truth(evaluate(document, argument)) for argument in arguments)
    if name == "$or":
        return any(truth(evaluate(document, argument)) for argument in arguments)
    values = [evaluate(document, argument) for argument in arguments]
    match name:
        case "$not":
            return not truth(values[0])
        case "$eq" | "$ne" | "$gt" | "$gte" | "$lt" | "$lte":
            verdict = order(*values)
            return (
                verdict
                in {
                    "$eq": {0},
                    "$ne": {-1, 1},
                    "$gt": {1},
                    "$gte": {0, 1},
                    "$lt": {-1},
                    "$lte": {-1, 0},
                }[name]
            )
        case "$concat":
            if any(nothing(value) for value in values):
                return None
            if not all(isinstance(value, str) for value in values):
                raise RefusedError(name)
            return "".join(values)
        case "$size":
            if not isinstance(values[0], list):
                raise RefusedError(name)
            return len(values[0])
        case "$toUpper":
            if nothing(values[0]):
                return ""
            if not isinstance(values[0], str):
                raise RefusedError(name)
            return values[0].upper()
    return arithmetic(name, values)


def evaluate(document: Any, expression: Any) -> Any:
    if expression == "$$ROOT":
        return document
    if isinstance(expression, str) and expression.startswith("$"):
        return field(document, expression[1:].split("."))
    if isinstance(expression, list):
        items = [evaluate(document, item) for item in expression]
        return [None if item is MISSING else item for item in items]
    if isinstance(expression, dict):
        for name, operand in expression.items():
            if name.startswith("$"):
                return call(document, name, operand)
        members = {name: evaluate(document, item) for name, item in expression.items()}
        return {name: value for name, value in members.items() if value is not MISSING}
    return expression


def accumulate(name: str, values: list[Any]) -> Any:  # noqa: C901, PLR0911  # One case a line.
    present = [value for value in values if not nothing(value)]
    numbers = [value for value in values if number(value)]
    by_order = functools.cmp_to_key(compare)
    match name:
        case "$sum":
            floats = any(isinstance(value, float) for value in numbers)
            return math.fsum(numbers) if floats else sum(numbers)
        case "$avg":
            return math.fsum(numbers) / len(numbers) if numbers else None
        case "$count":
            return len(values)
        case "$min":
            return min(present, key=by_order, default=None)
        case "$max":
            return max(present, key=by_order, default=None)
        case "$first" | "$last":
            value = values[0 if name == "$first" else -1]
            return None if value is MISSING else value
        case "$push":
            return [value for value in values if value is not MISSING]
        case "$addToSet":
            unique: list[Any] = []
            for value in values:
                if value is not MISSING and all(compare(value, known) for known in unique):
                    unique.append(value)
            return unique
    raise AssertionError(name)


def group(documents: list[dict[str, Any]], fields: dict[str, Any]) -> list[dict[str, Any]]:
    groups: list[tuple[Any, list[dict[str, Any]]]] = []
    for document in documents:
        key = evaluate(document, fields["_id"])
        key = None if key is MISSING else key
        for known, members in groups:
            if compare(known, key) == 0:
                members.append(document)
                break
        else:
            groups.append((key, [document]))
    results = []
    for key, members in groups:
        result = {"_id": key}
        for name, spec in fields.items():
            if name != "_id":
                ((accumulator, expression),) = spec.items()
                expression = None if accumulator == "$count" else expression
                values = [evaluate(member, expression) for member in members]
                result[name] = accumulate(accumulator, values)
        results.append(result)
    return results


def pick(value: Any, parts: list[str]) -> Any:
    """Keep one path of a value; `MISSING` when nothing of it is there."""
    if not parts:
        return value
    if isinstance(value, dict):
        if parts[0] not in value:
            return {}
        inner = pick(value[parts[0]], parts[1:])
        return {} if inner is MISSING else {parts[0]: inner}
    if isinstance(value, list):
        return [pick(item, parts) for item in value if isinstance(item, dict)]
    return MISSING


def merge(left: Any, right: Any) -> Any:
    if isinstance(left, dict) and isinstance(right, dict):
        names = [*left, *[name for name in right if name not in left]]
        return {
            name: merge(left[name], right[name])
            if name in left and name in right
            else left.get(name, right.get(name))
            for name in names
        }
    if isinstance(left, list) and isinstance(right, list):
        return [merge(one, other) for one, other in zip(left, right, strict=True)]
    return right


def remove(value: Any, parts: list[str]) -> None:
    if isinstance(value, list):
        for item in value:
            if isinstance(item, dict):
                remove(item, parts)
    elif isinstance(value, dict) and parts[0] in value:
        if len(parts) == 1:
            del value[parts[0]]
        elif isinstance(value[parts[0]], dict | list):
            remove(value[parts[0]], parts[1:])


def project(document: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    flags = {name: bool(flag) for name, flag in fields.items() if number(flag) or flag is True}
    if all(name in flags and not flags[name] for name in fields):
        left = copy.deepcopy(document)
        for name in fields:
            remove(left, name.split("."))
        return left
    result: dict[str, Any] = {}
    for name in [*(["_id"] if "_id" not in fields else []), *[n for n in flags if flags[n]]]:
        result = merge(result, pick(document, name.split(".")))
    for name, expression in fields.items():
        if name not in flags:
            value = evaluate(document, expression)
            if value is not MISSING:
                result[name] = value
    return result


def unwind(documents: list[dict[str, Any]], spec: Any) -> list[dict[str, Any]]:
    options = spec if isinstance(spec, dict) else {"path": spec}
    name, results = options["path"][1:], []
    for document in documents:
        value = document.get(name, MISSING)
        if isinstance(value, list) and value:
            found = [{**document, name: item} for item in value]
        elif nothing(value) or value == []:
            kept = {key: item for key, item in document.items() if key != name or item != []}
            found = [kept] if options.get("preserveNullAndEmptyArrays") else []
        else:
            found = [dict(document)]
        if "includeArrayIndex" in options:
            for index, each in enumerate(found):
                each[options["includeArrayIndex"]] = (
                    index if isinstance(value, list) and value else None
                )
        results += found
    return results


def joined(document: dict[str, Any], path: str) -> list[Any]:
    values: list[Any] = []
    for value in reach(document, path.split(".")):
        values += value if isinstance(value, list) else [None if value is MISSING else value]
    return values


def lookup(
    documents: list[dict[str, Any]], spec: dict[str, str], others: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    results = []
    for document in documents:
        mine = joined(document, spec["localField"])
        found = [
            other
            for other in others
            if any(compare(x, y) == 0 for x in mine for y in joined(other, spec["foreignField"]))
        ]
        results.append({**document, spec["as"]: found})
    return results


def run(  # noqa: C901  # One case a stage.
    documents: list[dict[str, Any]],
    stages: list[dict[str, Any]],
    others: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    for stage in stages:
        ((name, spec),) = stage.items()
        match name:
            case "$match":
                documents = [document for document in documents if matches(document, spec)]
            case "$project":
                documents = [project(document, spec) for document in documents]
            case "$group":
                documents = group(documents, spec)
            case "$sort":
                numbered = [{**d, "\0": n} for n, d in enumerate(documents)]
                documents = [documents[d["\0"]] for d in ordered(numbered, {**spec, "\0": 1})]
            case "$limit":
                documents = documents[:spec]
            case "$skip":
                documents = documents[spec:]
            case "$unwind":
                documents = unwind(documents, spec)
            case "$count":
                documents = [{spec: len(documents)}] if documents else []
            case "$lookup":
                documents = lookup(documents, spec, others)
    return documents
