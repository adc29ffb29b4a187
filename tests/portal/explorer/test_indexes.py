"""The page of indexes over a real node: make, follow, drop, and build what the node advises."""

import html
import re

import pytest

from tests.portal.explorer.conftest import text


@pytest.fixture
def stored(client):
    operations = [
        {"op": "put", "id": f"t{n:03}", "document": {"country": f"c{n % 50}", "size": n}}
        for n in range(600)
    ]
    client.bulk("towns", operations)
    yield
    client.collection_drop("towns")


def test_an_index_is_made_listed_and_dropped_by_its_name(browser, base, stored, client):
    assert "No indexes yet" in text(browser.get(f"{base}indexes/"))
    form = {
        "name": "by-size",
        "fields": '{"country": 1, "size": -1}',
        "partial": "",
        "sparse": "on",
    }
    made = browser.post(f"{base}indexes/new/", form, follow=True)
    assert "Index by-size is being built." in text(made)
    (index,) = client.indexes("towns")
    assert list(index["fields"].items()) == [("country", 1), ("size", -1)]
    assert index["sparse"] is True
    page = text(browser.get(f"{base}indexes/"))
    assert "<code>size</code> falling" in page
    kept = browser.post(f"{base}indexes/drop/", {"name": "by-size", "confirm": "size"}, follow=True)
    assert "nothing was dropped" in text(kept)
    assert len(client.indexes("towns")) == 1
    browser.post(f"{base}indexes/drop/", {"name": "by-size", "confirm": "by-size"})
    assert client.indexes("towns") == []


def test_faults_of_a_form_are_told(browser, base, stored, client):
    for form, said in (
        ({"name": "A", "fields": '{"a": 1}'}, "A name begins with a small letter"),
        ({"name": "a", "fields": "a"}, "Not valid JSON"),
        ({"name": "a", "fields": '{"a": "up"}'}, "Each field is 1 or -1."),
        ({"name": "a", "fields": '{"a": 1}', "partial": '{"a": {"$ne": 1}}'}, "n index knows"),
        ({"name": "a", "fields": ""}, "1 to 8 fields"),
        ({"name": "a", "fields": '{"a": 1}', "expire_after": "soon"}, "A whole number from 0"),
        ({"name": "a", "fields": '{"a": 1, "b": 1}', "expire_after": "1"}, "leave one field"),
        (
            {"name": "a", "fields": '{"a": 1}', "expire_after": "1", "unique": "on"},
            "cannot be unique",
        ),
        ({"name": "a", "fields": '{"a": 1}', "expire_after": "9999999999"}, "Whole seconds, from"),
    ):
        answer = browser.post(f"{base}indexes/new/", form)
        assert answer.status_code == 422
        assert said in text(answer)
        assert f'name="fields" value="{html.escape(form["fields"])}"' in answer.content.decode()
    assert client.indexes("towns") == []


def test_a_name_that_is_taken_is_told_without_a_box(browser, base, stored, client):
    client.index_put("towns", "by-size", {"size": 1})
    answer = browser.post(f"{base}indexes/new/", {"name": "by-size", "fields": '{"country": 1}'})
    assert answer.status_code == 409
    assert 'class="alert alert-danger" role="alert"' in answer.content.decode()


def test_an_index_lets_documents_expire(browser, base, stored, client):
    form = {
        "name": "expiry",
        "fields": '{"ends": 1}',
        "expire_after": "2",
        "expire_unit": "h",
        "sparse": "on",
        "partial": '{"size": {"$gt": 5}}',
    }
    browser.post(f"{base}indexes/new/", form)
    (index,) = client.indexes("towns")
    assert (index["expire_after_s"], index["sparse"]) == (7_200, True)
    assert "expires after 2 h" in text(browser.get(f"{base}indexes/"))


def test_what_the_node_advises_is_built_with_one_click(browser, base, stored, client):
    for number in range(6):
        client.query("towns", filter={"country": f"c{number}"}, sort={"size": -1})
    page = text(browser.get(f"{base}indexes/"))
    assert "Would help" in page
    assert "Build by-country-size" in page
    assert re.search(r"\bc3\b", page) is None, "shapes of queries hold no values"
    form = {"name": "by-country-size", "fields": '{"country":1,"size":-1}'}
    browser.post(f"{base}indexes/new/", form)
    page = text(browser.get(f"{base}indexes/"))
    assert "Would help" not in page
    assert "country $eq by -size" in page


def test_strangers_see_nothing_and_readers_change_nothing(base, stored, charlie, client_for):
    stranger = client_for(charlie)
    assert stranger.get(f"{base}indexes/").status_code == 404
    assert stranger.post(f"{base}indexes/new/", {"name": "a"}).status_code == 404
    assert stranger.post(f"{base}indexes/drop/", {"name": "a"}).status_code == 404


def test_the_page_asks_the_database_a_fixed_number_of_things(
    browser, base, stored, client, django_assert_max_num_queries
):
    browser.get(f"{base}indexes/")
    for number in range(4):
        client.index_put("towns", f"i{number}", {"size": 1})
    with django_assert_max_num_queries(20):
        browser.get(f"{base}indexes/")
