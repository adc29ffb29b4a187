"""What the command line remembers, and where tokens may go."""

import http.server
import json
import stat
import threading

import msgspec
import pytest

from aerolith_cli import exits, profiles
from aerolith_cli.exits import CommandError
from aerolith_cli.portal import PAUSE_S, Portal, portal_url
from aerolith_cli.profiles import Profile, StoredKey

SECRET = "aer_a-secret-of-somebody"


@pytest.fixture
def portal():
    """A server that answers what it is told to, and keeps the requests it got."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do(self):
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.server.seen.append((self.path, dict(self.headers)))
            status, body = self.server.answers.pop(0)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Retry-After", self.server.retry_after)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do  # noqa: N815 - the names the server looks for

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen, server.answers, server.retry_after = [], [], "0"
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def remember(**options) -> None:
    with profiles.changing() as held:
        profile = Profile(portal="https://p.example", token=SECRET, **options)
        held[0] = profiles.with_profile(held[0], "default", profile)


def test_the_file_is_for_its_user_alone(home):
    remember()
    path = profiles.config_path()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o640)
    with pytest.raises(CommandError, match="other users may read"):
        profiles.load()


def test_secrets_do_not_show_when_things_are_printed(home):
    key = StoredKey("id", SECRET)
    profile = Profile(portal="https://p.example", token=SECRET, keys={"c": key})
    assert SECRET not in f"{profile!r} {key!r} {profiles.Config(profiles={'a': profile})!r}"


def test_a_change_that_fails_leaves_the_file_as_it_was(home):
    remember()
    before = profiles.config_path().read_bytes()

    def fail() -> None:
        with profiles.changing() as held:
            held[0] = profiles.Config()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert profiles.config_path().read_bytes() == before
    assert sorted(p.name for p in profiles.config_path().parent.iterdir()) == [
        "config.json",
        "config.json.lock",
    ]


def test_two_commands_at_a_time_both_store_what_they_learned(home):
    remember()

    def store(number: int) -> None:
        for n in range(10):
            with profiles.changing() as held:
                key = StoredKey(f"{number}-{n}", "x")
                held[0] = profiles.with_key(held[0], "default", f"{number}-{n}", key)

    threads = [threading.Thread(target=store, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(profiles.load().profiles["default"].keys) == 40


def test_a_login_keeps_the_token_out_of_sight(cli, portal, home):
    orgs = [{"slug": "acme", "name": "Acme", "role": "owner"}]
    portal.answers = [(200, {"email": "ada@example.com", "organizations": orgs})]
    (home / "token").write_text(SECRET)
    cli.ok("login", "--portal", portal.url, "--token-file", home / "token")
    assert portal.seen[0][1]["Authorization"] == f"Bearer {SECRET}"
    assert profiles.load().profiles["default"].organization == "acme"
    assert SECRET not in cli.out + cli.err
    assert SECRET not in cli.ok("profiles", "list")
    assert SECRET not in cli.ok("profiles", "list", "--json")
    cli.ok("logout")
    assert profiles.load().profiles == {}


def test_a_login_that_the_portal_refuses_is_not_remembered(cli, portal, home):
    portal.answers = [(401, {"code": "unauthenticated", "detail": "Unknown token."})]
    (home / "token").write_text(SECRET)
    wrong = ("login", "--portal", portal.url, "--token-file", home / "token")
    assert cli(*wrong) == exits.NOT_ALLOWED
    assert cli.err.startswith("error: Unknown token.\nhint: The token is wrong")
    assert profiles.load().profiles == {}


@pytest.mark.parametrize(
    "url",
    ["ftp://a", "portal.example.com", "http://portal.example.com", "https://me:x@a", "http://"],
)
def test_addresses_that_tokens_must_not_go_to_are_refused(url):
    with pytest.raises(CommandError):
        portal_url(url)


def test_the_token_stays_with_the_portal_that_was_chosen(portal):
    portal.answers = [
        (200, {"results": [{"n": 1}], "next": "https://elsewhere.example/api/v1/orgs?cursor=abc"}),
        (200, {"results": [{"n": 2}], "next": None}),
    ]
    with Portal(portal.url, SECRET) as client:
        assert list(client.pages("orgs", limit=10)) == [{"n": 1}, {"n": 2}]
    assert portal.seen[1][0] == "/api/v1/orgs?cursor=abc"


@pytest.mark.parametrize("key", ["..", ".", "", "../backups/1", "a?b=c", "a#b"])
def test_an_id_cannot_lead_to_another_thing_of_the_portal(portal, key):
    with Portal(portal.url, SECRET) as client:
        for ask in (client.get, lambda path: client.write("DELETE", path)):
            with pytest.raises(CommandError) as refused:
                ask(f"orgs/acme/clusters/1/keys/{key}")
            assert refused.value.code == exits.USAGE
    assert portal.seen == []


def test_a_write_is_repeated_under_one_key_and_given_up_in_words(portal, monkeypatch):
    monkeypatch.setattr("aerolith_cli.portal.time.sleep", lambda seconds: None)
    portal.answers = [(503, {"code": "unavailable", "detail": "The database is away."})] * 3
    with Portal(portal.url, SECRET) as client, pytest.raises(CommandError) as gone:
        client.write("POST", "orgs", {})
    assert len({headers["Idempotency-Key"] for _, headers in portal.seen}) == 1
    assert len(portal.seen) == 3
    assert (str(gone.value), gone.value.code) == ("The database is away.", exits.UNAVAILABLE)


def test_a_node_that_refuses_keeps_nobody_from_hearing_what_others_say(
    portal, at_node, node, monkeypatch
):
    portal.answers = [(403, {"code": "forbidden", "detail": "no such key here"})] * 3
    monkeypatch.setenv("AEROLITH_URLS", f"{portal.url} {node.urls[0]}")
    found = json.loads(at_node.ok("encryption", "status", "--json"))
    assert [(row["node_id"], row.get("enabled")) for row in found] == [(None, None), (0, False)]
    assert found[0]["problem"] == "forbidden: no such key here"
    assert "no such key here" in at_node.ok("encryption", "status")
    monkeypatch.setenv("AEROLITH_URLS", portal.url)
    assert at_node("encryption", "status") == exits.NOT_ALLOWED
    assert "no such key here" in at_node.err


def test_digits_that_are_no_number_are_not_waited_for(portal, monkeypatch):
    waited: list[float] = []
    monkeypatch.setattr("aerolith_cli.portal.time.sleep", waited.append)
    portal.retry_after = "\u00b2"
    portal.answers = [(503, {"code": "unavailable", "detail": "away"})] * 3
    with Portal(portal.url, SECRET) as client, pytest.raises(CommandError):
        client.write("POST", "orgs", {})
    assert waited == [PAUSE_S] * 2


def test_what_is_no_portal_is_said_to_be_none(portal):
    portal.answers = [(404, b"<html>")]
    with Portal(portal.url, SECRET) as client, pytest.raises(CommandError) as wrong:
        client.get("me")
    assert "Is that the address of an AerolithDB portal?" in wrong.value.hint


def test_what_an_older_version_stored_is_read(home):
    path = profiles.config_path()
    path.parent.mkdir()
    profiles.write_private(path, b'{"profiles": {"a": {"portal": "https://p", "token": "t"}}}')
    assert profiles.load().profiles["a"].keys == {}
    profiles.write_private(path, b"{")
    with pytest.raises(CommandError, match="is broken"):
        profiles.load()
    assert msgspec.json.encode(profiles.Config())
