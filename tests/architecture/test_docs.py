"""What the documents say must be there."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "clients").glob("*/*.md")]
)
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)#\s]+)(?:#[^)]*)?\)")
CODE = re.compile(r"^\s+code\s*(?::\s*\S+\s*)?=\s*\"([a-z_]+)\"", re.MULTILINE)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_resolve(path):
    for target in LINK.findall(path.read_text()):
        if "://" in target or target.startswith("mailto:"):
            continue
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_files_named_in_code_style_exist(path):
    pattern = re.compile(r"`((?:portal|dataplane|clients|tests|docs|scripts|benchmarks)/[\w./-]+)`")
    for target in pattern.findall(path.read_text()):
        assert (ROOT / target).exists(), target


def test_every_error_code_of_the_portal_is_documented():
    text = (ROOT / "docs" / "operations.md").read_text()
    for path in sorted((ROOT / "portal").rglob("errors.py")):
        for code in CODE.findall(path.read_text()):
            assert f"`{code}`" in text, f"{code} of {name(path)}"


def test_the_typescript_client_knows_the_api_of_the_nodes():
    """Its types are generated from this file; `scripts/typescript generate` writes both."""
    from dataplane.gateways.rest.openapi import openapi_document

    known = json.loads((ROOT / "clients" / "typescript" / "openapi.json").read_text())
    said = json.loads(json.dumps(openapi_document(known["servers"][0]["url"])))
    assert said == known, "the API has changed: run scripts/typescript generate, and commit"
