"""Where documents are and the policy that moves them: over a real node, on every page of it."""

import html
import re

import pytest

from portal.audit.models import AuditEvent
from portal.core.tenancy import tenant_context
from portal.explorer.tiers import Places, Spread, care_words
from tests.portal.explorer.conftest import text

BODY = {"words": "so long that a stub would be shorter than this document is " * 4}
MONTH = {"cold_after": "30", "cold_unit": "d", "archive_after": "", "do": "save"}


@pytest.fixture
def stored(client):
    client.collection_put("towns", {"conflict_policy": "lww"})
    client.put("towns", "oslo", BODY)
    client.put("towns", "bergen", BODY)
    yield
    client.collection_drop("towns")


@pytest.fixture
def card(base):
    return base.replace("c/towns/", "tiers/")


def options(client):
    return next(found["options"] for found in client.collections() if found["name"] == "towns")


def test_a_policy_is_set_shown_and_ended(browser, base, stored, client, acme):
    assert "/storage/" in text(browser.get(base))
    url = f"{base}storage/"
    assert "None: everything stays on every disk" in text(browser.get(url))
    page = text(browser.post(url, MONTH, follow=True))
    assert "Saved." in page
    assert "Cold after 30 days" in page
    assert re.search(r'name="cold_after" value="30"', page)
    kept = options(client)
    assert kept == {"conflict_policy": "lww", "tiering": {"cold_after_s": 2_592_000}}
    browser.post(url, {**MONTH, "cold_after": "1", "cold_unit": "h"})
    page = text(browser.post(url, {"do": "end"}, follow=True))
    assert "The policy is ended" in page
    assert options(client) == {"conflict_policy": "lww"}
    with tenant_context(acme.schema_name):
        facts = AuditEvent.objects.filter(action__startswith="collection.tiering")
        assert list(facts.order_by("pk").values_list("action", "before", "after")) == [
            ("collection.tiering_set", None, {"cold_after_s": 2_592_000}),
            ("collection.tiering_set", {"cold_after_s": 2_592_000}, {"cold_after_s": 3_600}),
            ("collection.tiering_ended", {"cold_after_s": 3_600}, None),
        ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cold_after": ""}, "Say after which time"),
        ({"cold_after": "soon"}, "A whole number"),
        ({"cold_after": "0"}, "From one second"),
        ({"cold_after": "3651"}, "From one second to ten years"),
        ({"cold_unit": "moons"}, "Choose one of the units."),
        ({"archive_after": "30", "archive_unit": "d"}, "later than they get cold"),
    ],
)
def test_what_makes_no_policy_is_told_in_its_box(browser, base, stored, client, change, said):
    answer = browser.post(f"{base}storage/", {**MONTH, **change})
    assert answer.status_code == 422
    page = answer.content.decode()
    assert said in html.unescape(page)
    assert "is-invalid" in page
    assert "tiering" not in options(client)


def test_what_the_nodes_refuse_is_said_in_their_words(browser, base, stored, client):
    page = text(browser.get(f"{base}storage/"))
    assert "This installation has no store for archives." in page
    assert re.search(r'name="archive_after"[^>]* disabled', page)
    # The policy of a collection may have it all the same, set before or by the nodes' API.
    form = {**MONTH, "archive_after": "90", "archive_unit": "d"}
    answer = browser.post(f"{base}storage/", form)
    assert answer.status_code == 422
    assert "has no archive: leave" in text(answer)
    assert 'name="archive_after" value="90"' in text(answer), "what was typed is not lost"
    assert "tiering" not in options(client)


def test_a_collection_that_is_not_there_is_not_made_by_its_policy(browser, base, client):
    url = f"{base}storage/"
    assert browser.get(url).status_code == 404
    assert browser.post(url, MONTH).status_code == 404
    assert client.collections() == []


def test_an_empty_collection_may_have_a_policy(browser, base, client, card):
    assert "No documents yet" in text(browser.get(card))
    client.collection_put("towns", {})
    assert "A policy can be chosen all the same." in text(browser.get(f"{base}storage/"))
    browser.post(f"{base}storage/", MONTH)
    assert options(client)["tiering"] == {"cold_after_s": 2_592_000}
    client.collection_drop("towns")


def test_cold_documents_are_in_the_bars(browser, base, stored, client, card):
    assert "Everything is whole on every disk." in text(browser.get(card))
    assert "Where</th>" not in text(browser.get(base.removesuffix("c/towns/")))
    client.collection_put("towns", {"tiering": {"cold_after_s": 1}})
    while not client.collections()[0]["tiers"]["distributed"]["documents"]:
        client.put("towns", "fresh", {"short": True})
    for url in (f"{base}storage/", card, base.removesuffix("c/towns/")):
        page = text(browser.get(url))
        assert re.search(r'aria-label="Documents by tier: Disk \d, Distributed \d"', page), url
        assert 'class="tier-part is-distributed"' in page
        assert 'class="tier-part is-archive"' not in page
    page = text(browser.get(card))
    assert "segments" not in page, "all is as it should be"
    assert "cold after 1 second" in page
    assert "copies, in node 0, at most" in page
    assert "copies, in the node that was asked" in text(browser.get(f"{base}storage/"))


def test_creating_a_collection_again_leaves_its_options(browser, base, stored, client):
    home = base.removesuffix("c/towns/")
    page = text(browser.post(f"{home}new/", {"name": "towns"}, follow=True))
    assert "There is a collection towns already." in page
    assert options(client) == {"conflict_policy": "lww"}


def test_strangers_see_nothing(base, stored, card, charlie, client_for):
    stranger = client_for(charlie)
    for url in (card, f"{base}storage/"):
        assert stranger.get(url).status_code == 404
    assert stranger.post(f"{base}storage/", MONTH).status_code == 404


def test_pages_ask_the_database_a_fixed_number_of_things(
    browser, base, stored, client, card, django_assert_max_num_queries
):
    for number in range(8):
        client.collection_put(f"c{number}", {"tiering": {"cold_after_s": 60}})
    browser.get(card)
    with django_assert_max_num_queries(20):
        browser.get(f"{base}storage/")
    with django_assert_max_num_queries(20):
        page = text(browser.get(card))
    assert page.count("cold after 1 minute") == 6, "the card is short however many there are"
    for number in range(8):
        client.collection_drop(f"c{number}")


def test_a_bar_is_full_and_shows_little_as_little():
    places = Places.of({"ssd": (9, 10**9), "distributed": (1, 1), "archive": (0, 0)})
    assert [tier.share for tier in places.tiers] == [99.01, 0.99, 0.0]
    assert places.tiers[1].start == 99.01
    assert sum(tier.share for tier in Places.of({}).tiers) == 0


@pytest.mark.parametrize(("nodes", "needed"), [(1, 1), (2, 1), (3, 2), (4, 2), (7, 3)])
def test_so_many_nodes_give_a_cold_document_back(nodes, needed):
    assert Spread.over(nodes).needed == needed


@pytest.mark.parametrize(
    ("misplaced", "waiting", "missing", "words"),
    [
        (0, 0, 0, []),
        (12, 0, 0, ["12 of 1,040 segments are on their way to the present nodes."]),
        (12, 9, 0, ["A change of nodes waits until 9 of 1,040 segments are moved."]),
        (0, 0, 3, ["Node 2 makes 3 of its parts anew."]),
    ],
)
def test_what_a_cluster_does_for_cold_documents_is_said_while_it_does_it(
    misplaced, waiting, missing, words
):
    fragments = {"missing": missing}
    told = {"total": 1040, "misplaced": misplaced, "waiting": waiting, "fragments": fragments}
    assert care_words({"node_id": 2, "segments": told}) == words
