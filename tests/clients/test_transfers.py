"""Import and export: formats, refused rows, and imports that die on the way."""

import json
import stat

import pytest

from aerolith_cli import exits
from dataplane.client.client import Client
from dataplane.client.errors import ClusterUnreachableError

ROWS = 1_200


def documents(client, collection: str) -> list[dict]:
    return list(client.iterate(collection, sort={"_id": 1}))


def fields(client, collection: str) -> list[dict]:
    return [
        {name: value for name, value in row.items() if name == "_id" or name[0] != "_"}
        for row in documents(client, collection)
    ]


@pytest.fixture
def lines(home):
    """A file of rows without ids."""
    path = home / "rows.ndjson"
    path.write_text("".join(f'{{"n":{n}}}\n' for n in range(ROWS)))
    return path


def test_csv_becomes_documents_with_numbers_and_codes(at_node, client, home):
    (home / "a.csv").write_text(
        "code,city,height,open,note\nOSL,Oslo,208,true,\nBGO,Bergen,5.2e1,false,-1e999\n"
        'TRD,"Trond, heim",007,TRUE,99999999999999999999\n',
        encoding="utf-8-sig",
    )
    at_node.ok("import", "csv", "a.csv", "--id-field", "code")
    assert fields(client, "csv") == [
        {"_id": "BGO", "city": "Bergen", "code": "BGO", "height": 52.0, "note": "-1e999",
         "open": False},
        {"_id": "OSL", "city": "Oslo", "code": "OSL", "height": 208, "open": True},
        {"_id": "TRD", "city": "Trond, heim", "code": "TRD", "height": "007", "open": "TRUE",
         "note": 1e20},
    ]  # fmt: skip
    at_node.ok("import", "texts", "a.csv", "--id-field", "code", "--text")
    assert fields(client, "texts")[1]["height"] == "208"


@pytest.mark.parametrize("kind", ["ndjson", "json", "parquet"])
def test_what_is_exported_can_be_imported_again_unchanged(kind, at_node, client, home):
    source, copy = f"{kind}-source", f"{kind}-copy"
    client.put(source, "a", {"n": 1, "mixed": 1, "deep": {"x": [1, "two"]}, "flag": True})
    client.put(source, "b", {"n": 2.5, "mixed": "017", "deep": {"x": []}, "text": "é\n"})
    client.put(source, "c", {"big": 2**63 - 1, "n": -3})
    at_node.ok("export", source, f"out.{kind}")
    assert not (home / f"out.{kind}.part").exists()
    at_node.ok("import", copy, f"out.{kind}")
    assert fields(client, copy) == fields(client, source)


def test_csv_has_every_column_and_nested_values_as_json(at_node, client):
    client.put("columns", "a", {"n": 1})
    client.put("columns", "b", {"deep": {"x": [1]}, "late": "x,y"})
    assert at_node.ok("export", "columns", "--format", "csv").splitlines() == [
        "_id,n,deep,late",
        "a,1,,",
        'b,,"{""x"":[1]}","x,y"',
    ]
    filtered = at_node.ok("export", "columns", "--filter", '{"n": 1}', "--with-versions")
    assert json.loads(filtered)["_version"] == 1
    assert at_node.ok("export", "columns", "--filter", '{"n": 7}', "--format", "json") == "[]\n"


def test_rows_that_are_refused_are_kept_for_mending(at_node, client, home):
    (home / "r.ndjson").write_text('{"_id":"a"}\n[1]\n{"_id":"b","_odd":1}\n{"_id":true}\nx\n')
    assert at_node("import", "refused", "r.ndjson") == exits.PARTLY
    assert "row 2: not a JSON object" in at_node.err
    kept = [json.loads(line) for line in (home / "r.ndjson.refused.ndjson").open()]
    assert sorted((row["row"], row["code"]) for row in kept) == [
        (2, "unreadable"),
        (3, "invalid"),
        (4, "unreadable"),
        (5, "unreadable"),
    ]
    assert [row["_id"] for row in documents(client, "refused")] == ["a"]


def test_documents_that_are_there_can_be_kept(at_node, client, home):
    client.put("kept", "a", {"mine": True})
    (home / "k.json").write_text('[{"_id": "a", "mine": false}, {"_id": "b"}]')
    at_node.ok("import", "kept", "k.json", "--keep-existing")
    assert "1 stored, 1 were there already" in at_node.err
    assert client.get("kept", "a")["mine"] is True


@pytest.fixture
def dying(monkeypatch):
    """Have the second batch be done without the client learning of it."""
    bulk, calls = Client.bulk, []

    def do(self, collection, operations, **options):
        results = bulk(self, collection, operations, **options)
        calls.append(len(operations))
        if len(calls) == 2:
            raise ClusterUnreachableError("the answer is lost")
        return results

    monkeypatch.setattr(Client, "bulk", do)
    return calls


def test_an_interrupted_import_goes_on_and_stores_each_row_once(at_node, client, lines, dying):
    assert at_node("import", "once", lines) == exits.UNAVAILABLE
    assert "The same command goes on from where it stopped" in at_node.err
    at_node.ok("import", "once", lines)
    assert dying == [500, 500, 500, 200], "it began again with the batch whose answer was lost"
    assert "700 stored, 500 rows were done before" in at_node.err
    found = documents(client, "once")
    assert sorted(row["n"] for row in found) == list(range(ROWS))
    assert len({row["_version"] for row in found}) == 1, "a row that is stored twice changes it"


def test_an_import_that_was_completed_is_done_anew(at_node, client, lines):
    at_node.ok("import", "anew", lines)
    client.collection_drop("anew")
    at_node.ok("import", "anew", lines)
    assert len(documents(client, "anew")) == ROWS


def test_a_changed_file_or_another_recipe_begins_anew(at_node, client, lines, dying):
    assert at_node("import", "changed", lines) == exits.UNAVAILABLE
    lines.write_text(lines.read_text() + '{"n":-1}\n')
    at_node.ok("import", "changed", lines)
    assert "rows were done before" not in at_node.err
    assert len([row for row in documents(client, "changed") if row["n"] == -1]) == 1


def test_notes_of_imports_are_private_and_go_when_it_is_done(at_node, home, lines, dying):
    at_node("import", "noted", lines)
    (note,) = (home / "state" / "aerolith" / "imports").iterdir()
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    at_node.ok("import", "noted", lines)
    assert not note.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "a,a\n1,2\n"),
        ("a.csv", '"a\n'),
        ("a.csv", ""),
        ("a.json", "{}"),
        ("a.json", "["),
        ("a.parquet", "no"),
        ("a.txt", ""),
    ],
)
def test_files_that_are_not_what_they_say_are_told(name, content, at_node, home):
    (home / name).write_text(content)
    assert at_node("import", "broken", name) == exits.USAGE
    assert at_node.err.startswith("error: ")
