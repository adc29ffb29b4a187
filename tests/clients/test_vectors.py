"""Vectors of proofs: true ones and forged ones, with the verdict that every checker must give.

`tests/vectors/proofs.json` is what the TypeScript client's tests read. Cases that share an answer
are written as what differs from it.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dataplane.client.anchors import load_anchor
from tests.forgeries import Case, builtin, cases

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "proofs.json"
SPLICED_MIN = 40
DIFFERENCE_MAX = 1_000


def common(one: str, other: str) -> int:
    """Return how many letters both begin with."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def difference(base: Any, other: Any, path: tuple[str | int, ...] = ()) -> list[list[Any]]:
    """Return what differs.

    `[path]` is gone, `[path, value]` is set, and of a text `[path, start, end, new]` is replaced.
    """
    if base == other and type(base) is type(other):
        return []
    if isinstance(base, dict) and isinstance(other, dict):
        found = [[[*path, name]] for name in base if name not in other]
        for name, value in other.items():
            if name not in base:
                found.append([[*path, name], value])
            else:
                found += difference(base[name], value, (*path, name))
        return found
    if isinstance(base, list) and isinstance(other, list) and len(base) == len(other):
        steps = zip(base, other, strict=True)
        return [part for at, (a, b) in enumerate(steps) for part in difference(a, b, (*path, at))]
    if isinstance(base, str) and isinstance(other, str) and len(base) > SPLICED_MIN:
        start = common(base, other)
        rest = min(len(base), len(other)) - start
        same = common(base[::-1], other[::-1])
        end = len(base) - min(same, rest)
        return [[list(path), start, end, other[start : len(other) - (len(base) - end)]]]
    return [[list(path), other]]


def changed(base: Any, changes: list[list[Any]]) -> Any:
    """Return a value with changes made."""
    value = json.loads(json.dumps(base))
    for path, *new in changes:
        if not path:
            (value,) = new
            continue
        place = value
        for name in path[:-1]:
            place = place[name]
        match new:
            case []:
                del place[path[-1]]
            case [item]:
                place[path[-1]] = item
            case [start, end, text]:
                held = place[path[-1]]
                place[path[-1]] = held[:start] + text + held[end:]
    return value


def written(found: list[Case]) -> str:
    """Return the file: each answer that others are told by stands in it once."""
    answers: list[Any] = []
    anchors: list[Any] = []
    rows = []
    for case in found:
        anchor = builtin(case.anchor)
        if anchor not in anchors:
            anchors.append(anchor)
        told = [(difference(answer, case.answer), at) for at, answer in enumerate(answers)]
        steps, at = min(told, key=lambda one: len(json.dumps(one[0])), default=([], -1))
        if at < 0 or len(json.dumps(steps)) > DIFFERENCE_MAX:
            answers.append(case.answer)
            steps, at = [], len(answers) - 1
        row = {"name": case.name, "anchor": anchors.index(anchor), "answer": at}
        rows.append({**row, "changes": steps, "verdict": case.verdict})
    parts = {"anchors": anchors, "answers": answers, "cases": rows}
    lines = [
        f'"{name}": [\n' + ",\n".join(json.dumps(row) for row in part) + "\n]"
        for name, part in parts.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


@pytest.fixture(scope="module")
def vectors(request) -> dict[str, Any]:
    if request.config.getoption("--rewrite"):
        VECTORS.write_text(written(list(cases())))
    found: dict[str, Any] = json.loads(VECTORS.read_text())
    return found


def verdict(vectors: dict[str, Any], row: dict[str, Any]) -> str:
    answer = changed(vectors["answers"][row["answer"]], row["changes"])
    anchor = load_anchor(json.dumps(vectors["anchors"][row["anchor"]]).encode())
    return Case(row["name"], answer, anchor).verdict


def test_the_python_client_gives_every_verdict(vectors):
    rows = vectors["cases"]
    assert len(rows) > 400
    found = {row["name"]: verdict(vectors, row) for row in rows}
    assert found == {row["name"]: row["verdict"] for row in rows}


def test_states_of_today_are_judged_as_those_that_were_written_down(vectors):
    """What rows hold changes roots and paths, not which lies there are and what becomes of them."""
    found = list(cases())
    today = {case.name: case.verdict for case in found}
    then = {row["name"]: row["verdict"] for row in vectors["cases"]}
    assert named(today) == named(then), "if it is meant: pytest tests/clients --rewrite"
    again = json.loads(written(found))
    for case, row in zip(found, again["cases"], strict=True):
        answer = changed(again["answers"][row["answer"]], row["changes"])
        assert json.dumps(answer, sort_keys=True) == json.dumps(case.answer, sort_keys=True)
        assert again["anchors"][row["anchor"]] == builtin(case.anchor)


def named(verdicts: dict[str, str]) -> dict[str, str]:
    return {name: verdict for name, verdict in verdicts.items() if ", changed" not in name}


def test_every_kind_of_refusal_is_among_them(vectors):
    counts = Counter(row["verdict"] for row in vectors["cases"])
    wanted = {"present", "absent", "malformed", "bad_signature", "not_enough_signers", "bad_change"}
    wanted |= {"duplicate_signer", "unknown_signer", "other_cluster", "other_epoch", "other_root"}
    wanted |= {"other_row", "other_document", "is_present", "is_absent"}
    assert wanted <= set(counts)
    found = named({row["name"]: row["verdict"] for row in vectors["cases"]})
    assert {name for name, verdict in found.items() if verdict in {"present", "absent"}} == {
        "a document",
        "a document of every kind of value",
        "no document",
        "no collection",
        "a checkpoint",
        "a handover",
        "a handover that is known already",
    }
