"""The history page over a real node: timeline, comparison, putting a version back, who may."""

import re

import pytest

from portal.explorer.history import version_get
from portal.organizations.models import Membership, Role
from tests.portal.explorer.conftest import text


@pytest.fixture
def base(base):
    return f"{base}document/"


LONG = "0190c0de-0000-7000-8000-000000000001"


@pytest.fixture
def stored(client):
    """A document with three versions; the number of the first: a new collection counts on."""
    first = client.put("towns", LONG, {"name": "Oslo", "size": 7, "tags": {"old": 1}})
    client.put("towns", LONG, {"name": "<b>Oslo</b>", "size": 7, "tags": {"new": [1, 2]}})
    client.patch("towns", LONG, {"size": 8})
    yield first["_version"]
    client.collection_drop("towns")


def places(page: str) -> list[str]:
    return re.findall(r'name="old" value="([\d-]+)"', page)


def test_versions_are_listed_and_the_newest_two_compared(browser, base, stored):
    answer = browser.get(f"{base}history/", {"id": LONG})
    assert "<b>Oslo" not in answer.content.decode()
    page = text(answer)
    assert page.count('class="list-group-item history-item"') == 3
    assert re.findall(r'<code class="is-(\w+)"[^>]*>. (\S+)</code>', page) == [
        ("changed", "/size"),
        ("changed", "/name"),
        ("added", "/tags/new"),
        ("removed", "/tags/old"),
    ]
    assert f"Version {stored + 1} → version {stored + 2}" in page
    assert "begins here" in page or "was dropped here" in page
    assert "<script>" not in page


def test_two_chosen_versions_are_compared_older_first(browser, base, stored):
    newest, middle, oldest = places(text(browser.get(f"{base}history/", {"id": LONG})))
    page = text(browser.get(f"{base}history/", {"id": LONG, "old": middle, "new": oldest}))
    assert f"Version {stored} → version {stored + 1}" in page
    assert "/tags/old was removed" in page
    assert "/size was changed" not in page
    gone = {"id": LONG, "old": "1-0", "new": newest}
    assert "is not known any more" in text(browser.get(f"{base}history/", gone))
    nonsense = {"id": LONG, "old": "x", "new": "²-²"}
    assert browser.get(f"{base}history/", nonsense).status_code == 200


def test_a_version_is_put_back_by_a_new_one_which_says_who(browser, base, stored, client):
    oldest = places(text(browser.get(f"{base}history/", {"id": LONG})))[-1]
    form = {"place": oldest, "present": stored + 2}
    done = browser.post(f"{base}history/rewind/?id={LONG}", form, follow=True)
    assert f"Version {stored} is back, as version {stored + 3}." in text(done)
    assert "by alice@example.com" in text(done)
    found = client.get("towns", LONG)
    assert (found["name"], found["_version"]) == ("Oslo", stored + 3)
    # The oldest and the newest are the same now: there is nothing to put back of them.
    assert text(done).count("Restore</button>") == 2


def test_nothing_is_put_back_over_a_change_of_others(browser, base, stored, client):
    oldest = places(text(browser.get(f"{base}history/", {"id": LONG})))[-1]
    client.patch("towns", LONG, {"size": 9})
    form = {"place": oldest, "present": stored + 2}
    late = browser.post(f"{base}history/rewind/?id={LONG}", form, follow=True)
    assert "nothing was overwritten" in text(late)
    assert client.get("towns", LONG)["size"] == 9
    for wrong in ({"place": "1-0", "present": stored + 3}, {"place": oldest, "present": "x"}):
        browser.post(f"{base}history/rewind/?id={LONG}", wrong)
    assert client.get("towns", LONG)["_version"] == stored + 3


def test_a_deleted_document_is_brought_back_unless_it_is_there_again(browser, base, stored, client):
    browser.post(f"{base}delete/?id={LONG}")
    page = text(browser.get(f"{base}history/", {"id": LONG}))
    assert "This document was deleted" in page
    assert 'name="present" value="none"' in page
    assert "Deleted" in page
    assert page.count("by alice@example.com") == 1, "who deleted it, and nothing else"
    form = {"place": places(page)[-1], "present": "none"}
    done = browser.post(f"{base}history/rewind/?id={LONG}", form, follow=True)
    assert f"Version {stored} is back" in text(done)
    assert client.get("towns", LONG)["name"] == "Oslo"
    again = browser.post(f"{base}history/rewind/?id={LONG}", form, follow=True)
    assert "nothing was overwritten" in text(again)


def test_a_change_in_the_portal_is_recorded_whatever_the_names_are_long(
    browser, base, stored, client
):
    saved = browser.post(f"{base}?id={LONG}", {"document": '{"size": 4}', "version": stored + 2})
    assert saved.status_code == 302
    page = text(browser.get(f"{base}history/", {"id": LONG}))
    assert page.count("by alice@example.com") == 1


def test_of_nothing_there_is_an_empty_state(browser, base, stored):
    answer = browser.get(f"{base}history/", {"id": "nowhere"})
    assert answer.status_code == 404
    assert "No trace of this document" in text(answer)


def test_older_versions_are_on_further_pages(browser, base, stored, client):
    for number in range(25):
        client.patch("towns", LONG, {"size": 100 + number})
    page = text(browser.get(f"{base}history/", {"id": LONG}))
    older = re.search(r'rel="next" href="\?([^"]+)"', page)
    assert older is not None
    assert "There are older versions" in page
    second = text(browser.get(f"{base}history/?{older[1]}"))
    assert second.count("history-item") == 8
    assert "present</span>" not in second


def test_strangers_see_nothing_and_readers_change_nothing(
    base, stored, charlie, bob, client_for, cluster, client
):
    Membership.objects.filter(user=bob).update(role=Role.ANALYST)
    stranger = client_for(charlie)
    assert stranger.get(f"{base}history/", {"id": LONG}).status_code == 404
    assert stranger.post(f"{base}history/rewind/", {"place": "1-0"}).status_code == 404
    reader = client_for(bob)
    page = text(reader.get(f"{base}history/", {"id": LONG}))
    assert f"Version {stored + 1} → version {stored + 2}" in page
    assert "Restore</button>" not in page
    assert reader.post(f"{base}history/rewind/?id={LONG}", {}).status_code == 403
    assert version_get(client, ("towns", LONG), "1-0") is None


def test_the_page_asks_the_database_a_fixed_number_of_things(
    browser, base, stored, client, django_assert_max_num_queries
):
    browser.get(f"{base}history/", {"id": LONG})
    for number in range(10):
        client.patch("towns", LONG, {"size": 50 + number})
    with django_assert_max_num_queries(20):
        browser.get(f"{base}history/", {"id": LONG})
