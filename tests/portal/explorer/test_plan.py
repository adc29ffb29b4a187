"""How a query was answered, on the page of documents: over a real node."""

import pytest

from portal.explorer.explaining import Explained
from tests.portal.explorer.conftest import text


@pytest.fixture
def stored(client):
    operations = [
        {"op": "put", "id": f"t{n:03}", "document": {"country": f"c{n % 50}", "size": n}}
        for n in range(300)
    ]
    client.bulk("towns", operations)
    yield
    client.collection_drop("towns")


ASKED = {"filter": '{"country": "c3"}', "sort": '{"size": -1}', "explain": "1"}


def test_a_scan_shows_what_it_cost_and_the_index_that_would_help(browser, base, stored):
    page = text(browser.get(base, ASKED))
    assert "Looked at every document" in page
    assert "300 documents examined" in page
    assert "6 returned" in page
    assert 'class="plan-returned" width="2.0%"' in page
    assert "This query looked at 300 documents to return 6." in page
    assert "Build by-country-size" in page
    assert "plan-title" not in text(browser.get(base, {**ASKED, "explain": ""}))


def test_the_node_that_has_seen_many_such_queries_gives_the_reason(browser, base, stored, client):
    for number in range(6):
        client.query("towns", filter={"country": f"c{number}"}, sort={"size": -1})
    assert "queries looked at 300 documents each" in text(browser.get(base, ASKED))


def test_cold_documents_are_told_with_what_it_took_to_have_them(browser, base, client):
    pad = "x" * 100
    documents = [{"op": "put", "id": f"t{n}", "document": {"n": n, "pad": pad}} for n in range(9)]
    client.bulk("towns", documents)
    client.collection_tier("towns", cold_after_s=1)

    def cold() -> int:
        told = {row["name"]: row for row in client.collections()}["towns"]
        return told["tiers"]["distributed"]["documents"]

    while cold() < 9:
        client.put("towns", "hot", {"n": 100})
    page = text(browser.get(base, {"explain": "1"}))
    assert '<span class="tabular">9</span> in segments over the nodes' in page
    assert '<span class="tabular">1</span> on the disk' in page
    assert "needed, " in page
    assert "fetched in " in page
    again = text(browser.get(base, {"explain": "1"}))
    assert "<dt>From memory</dt>" in again
    assert '<span class="tabular">10</span> of 10 returned' in again
    client.collection_drop("towns")


def test_a_plan_without_cold_documents_says_nothing_of_segments(browser, base, stored):
    page = text(browser.get(base, ASKED))
    assert "<dt>Segments</dt>" not in page
    assert '<span class="tabular">0</span> of 6 returned' in page


def test_an_index_shows_its_bounds_and_those_that_were_not_taken(browser, base, stored, client):
    client.index_put("towns", "by-country-size", {"country": 1, "size": -1})
    client.index_put("towns", "some", {"country": 1}, partial={"size": {"$gt": 290}})
    while {index["state"] for index in client.indexes("towns")} != {"ready"}:
        client.put("towns", "t000", {"country": "c0", "size": 0})
    page = text(browser.get(base, ASKED))
    assert "By an index" in page
    assert '<span class="badge bg-green-lt ms-1">by-country-size</span>' in page
    assert '<code>country $eq "c3"</code>' in page
    assert "<code>some</code>: " in page
    assert "in the order of the index" in page
    assert "would help" not in page


def test_a_query_that_no_index_would_help_proposes_none(browser, base, stored):
    page = text(browser.get(base, {"explain": "1"}))
    assert "Looked at every document" in page
    assert "would help" not in page


def test_the_bar_shows_little_as_little_and_nothing_as_nothing():
    def share(documents: int, returned: int) -> float:
        facts = {"scans": [], "order": "", "keys": 0, "time_ms": 0.1, "is_cached": False}
        plan = Explained(
            words="", is_scan=True, rejected=[], proposal=None,
            documents=documents, returned=returned, **facts,
        )  # fmt: skip
        return plan.returned_share

    assert [share(0, 0), share(10, 10), share(10**6, 1), share(100, 0)] == [0.0, 100.0, 0.5, 0.0]


def test_an_explained_page_asks_the_database_a_fixed_number_of_things(
    browser, base, stored, django_assert_max_num_queries
):
    browser.get(base, ASKED)
    with django_assert_max_num_queries(20):
        browser.get(base, ASKED)


def test_readers_see_the_plan_and_strangers_nothing(base, stored, charlie, client_for):
    assert client_for(charlie).get(base, ASKED).status_code == 404
