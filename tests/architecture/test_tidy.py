"""Checks on the code itself that no linter makes."""

import ast
import re
from pathlib import Path

import pytest

from tests.clients.packaging import build_hook

ROOT = Path(__file__).resolve().parents[2]
FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 500
SOURCES = sorted(
    path
    for folder in ("portal", "dataplane", "clients", "tests", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if not {"migrations", "node_modules", "pb"}.intersection(path.parts)
)
TEXTS = sorted(
    path
    for folder in (
        "portal",
        "dataplane",
        "templates",
        "tests",
        "docs",
        "scripts",
        "benchmarks",
        "clients",
    )
    for path in (ROOT / folder).rglob("*")
    if path.is_file()
    and path.suffix in {".py", ".html", ".js", ".css", ".md", ".txt", ".ts", ".json", ".toml", ""}
    and not {"__pycache__", "node_modules"}.intersection(path.parts)
) + [path for path in ROOT.glob("*") if path.suffix in {".md", ".toml", ".txt", ".py"}]
# Written apart so that this file does not find itself.
BANNED = [
    "TO" + "DO",
    "FIX" + "ME",
    "XX" + "X:",
    "pypi" + ".org",
    "files.python" + "hosted",
    "registry.npm" + "js",
    "index-" + "url",
]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_files_and_functions_are_short(path):
    text = path.read_text()
    limit = FILE_LINES_MAX * (2 if path.is_relative_to(ROOT / "tests") else 1)
    assert text.count("\n") <= limit, f"more than {limit} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_nothing_is_left_for_later_and_no_registry_is_named(path):
    text = path.read_text(errors="replace")
    found = [word for word in BANNED if re.search(rf"\b{re.escape(word)}", text)]
    assert found == []


def test_only_entry_points_import_the_celery_application():
    allowed = {"celery_app.py"}
    for path in SOURCES:
        if path.is_relative_to(ROOT / "tests"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert "celery_app" not in names or name(path) in allowed, name(path)


def test_every_package_has_one_sentence():
    for path in SOURCES:
        if path.is_relative_to(ROOT / "tests"):
            continue
        assert ast.get_docstring(ast.parse(path.read_text())), f"{name(path)} has no docstring"


def test_the_client_needs_nothing_that_its_package_does_not_bring():
    """A mistake here is found at once, and not when the wheel is built."""
    collected = build_hook().modules(ROOT / "clients" / "python")
    assert "dataplane.client.client" in collected


def test_vendored_packages_carry_their_licences():
    for folder in (ROOT / "static" / "vendor").iterdir():
        assert (folder / "LICENSE").is_file(), f"{name(folder)} has no LICENSE"
