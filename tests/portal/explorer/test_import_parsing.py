"""Files become documents: types guessed with care, rows named the same in every attempt."""

import csv
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.explorer.errors import UnreadableFile
from portal.explorer.parsing import (
    decode_text,
    guess,
    guess_columns,
    guess_format,
    id_of,
    read_rows,
)
from portal.explorer.types import Recipe


def recipe(text, name="x.csv", id_field=None):
    found = guess(name, text)
    chosen = found.id_field if id_field is None else id_field
    return Recipe(format=found.format, columns=found.columns, id_field=chosen, digest="d" * 64)


def documents(text, name="x.csv", id_field=None):
    return [row.document for row in read_rows(text, recipe(text, name, id_field))]


def test_csv_types_are_the_narrowest_that_fit():
    text = "a,b,c,d,e,f\n1,1.5,true,007,x,\n2,3,FALSE,8,1,\n"
    assert guess_columns(text) == {
        "a": "integer",
        "b": "number",
        "c": "boolean",
        "d": "text",
        "e": "text",
        "f": "text",
    }


def test_a_code_with_leading_zeros_stays_text():
    assert documents("zip,n\n00501,1\n", id_field="zip")[0]["zip"] == "00501"


def test_an_empty_cell_is_an_absent_field():
    assert documents("id,n\na,\n")[0] == {"id": "a", "_id": "a"}


def test_semicolons_quotes_and_line_breaks():
    (document,) = documents('id;text\n1;"a;b\nc ""d"""\n')
    assert document == {"id": 1, "text": 'a;b\nc "d"', "_id": "1"}


def test_a_unique_column_named_like_an_id_is_proposed():
    assert guess("x.csv", "name,icao\na,X\nb,Y\n").id_field == "icao"
    assert guess("x.csv", "name,size\na,1\nb,2\n").id_field == ""
    assert guess("x.csv", "name,id\na,1\nb,2\n").id_field == "id"
    assert guess("x.csv", "name,id\na,1\nb,1\n").id_field == ""


def test_rows_without_an_id_get_the_same_one_in_every_attempt():
    text = "n\n1\n2\n"
    first, second = documents(text), documents(text)
    assert first == second
    assert first[0]["_id"] != first[1]["_id"]


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("a.jsonl", "{}", "ndjson"),
        ("a", '{"a":1}\n{"a":2}\n', "ndjson"),
        ("a", '{\n "a": 1\n}', "json"),
        ("a", '{"a":1}', "json"),
        ("a", '[{"a":1}]', "json"),
        ("a", "a,b\n1,2", "csv"),
    ],
)
def test_the_format_is_guessed(name, text, kind):
    assert guess_format(name, text) == kind


def test_exported_documents_can_be_imported_again():
    line = '{"_id":"a","_version":3,"_created":"x","_updated":"y","n":1}'
    assert documents(line + "\n" + line.replace('"a"', '"b"'), "x.ndjson") == [
        {"_id": "a", "n": 1},
        {"_id": "b", "n": 1},
    ]


def test_a_broken_line_is_one_broken_row():
    text = '{"a":1}\n{oops\n[1]\n{"a":2}\n'
    rows = list(read_rows(text, recipe(text, "x.ndjson")))
    assert [row.error is None for row in rows] == [True, False, False, True]
    assert [row.number for row in rows] == [1, 2, 3, 4]


def test_too_many_cells_and_wrong_types_are_rows_with_errors():
    text = "a,b\n1,2\n1,2,3\n"
    rows = list(read_rows(text, recipe(text)))
    assert rows[1].error == "3 cells, but 2 columns"
    text = "a\n" + "1\n" * 2500 + "x\n"
    rows = list(read_rows(text, recipe(text)))
    assert rows[-1].error == "column 'a': 'x' is not an integer"


@pytest.mark.parametrize("text", ["", "  \n", "a,b\n", "a,a\n1,2\n", "a,\n1,2\n", "[]"])
def test_files_that_hold_nothing_usable_say_why(text):
    with pytest.raises(UnreadableFile) as caught:
        guess("x" if text == "[]" else "x.csv", text)
    assert str(caught.value).endswith(".")


def test_deep_nesting_is_refused_not_crashed_on():
    with pytest.raises(UnreadableFile):
        guess("x.json", "[" * 200_000)


def test_encodings():
    assert decode_text("\ufeffä".encode()) == "ä"
    assert decode_text("ä".encode("utf-16")) == "ä"
    with pytest.raises(UnreadableFile, match="UTF-8"):
        decode_text("ä".encode("latin-1"))


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "a\nb", "x" * 129, True, None, 1.5, [], {}])
def test_what_cannot_be_an_id(bad):
    assert id_of(bad) is None


cells = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\n\x00"), min_size=1, max_size=20
)


@given(st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=20))
def test_any_text_survives_csv_as_text(rows):
    out = StringIO()
    writer = csv.writer(out)
    writer.writerow(["a", "b", "c"])
    writer.writerows(rows)
    chosen = Recipe(format="csv", columns=dict.fromkeys("abc", "text"), id_field="", digest="x")
    found = [row.document for row in read_rows(out.getvalue(), chosen)]
    assert [[d["a"], d["b"], d["c"]] for d in found] == rows


@given(st.text(max_size=300), st.sampled_from(["x.csv", "x.json", "x.ndjson", "x"]))
def test_no_text_crashes_the_reader(text, name):
    try:
        rows = list(read_rows(text, recipe(text, name)))
    except UnreadableFile:
        return
    assert all((row.document is None) == (row.error is not None) for row in rows)
