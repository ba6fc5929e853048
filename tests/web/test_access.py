"""Who may see the page, and who may act."""

import asyncio
import base64
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beanwatch.web import users as users_module
from beanwatch.web.access import (
    HEADERS,
    MAX_CHECKING,
    Denied,
    FailureCounter,
    Gate,
    Rules,
    parse_basic,
)
from beanwatch.web.users import UsersError, check_password, make_entry, parse_users, read_users
from tests.web.conftest import OURS, Fleet

PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users_module, "N", 2**4)


def make_rules(**options: object) -> Rules:
    lines = [make_entry("ann", "act", PASSWORD), make_entry("bob", "view", PASSWORD)]
    users = parse_users("\n".join(lines), "users")
    return Rules(allow_actions=True, users=users)._replace(**options)


def test_a_password_lets_in_and_the_role_says_who_may_act(fleet: Fleet) -> None:
    form = {"action": "kick", "server": "q1", "queue": "email"}
    fleet.bury("email")
    with fleet.pages(make_rules()) as pages:
        assert pages.client.get("/").status_code == 401
        assert "Basic" in pages.client.get("/").headers["www-authenticate"]
        assert pages.client.get("/", auth=("ann", "wrong")).status_code == 401
        assert pages.client.get("/", auth=("eve", PASSWORD)).status_code == 401
        assert ">bob (view only)<" in pages.client.get("/", auth=("bob", PASSWORD)).text
        for name, status in (("bob", 403), ("ann", 200)):
            answer = pages.client.post(
                "/actions/plan", data=form, headers=OURS, auth=(name, PASSWORD)
            )
            assert answer.status_code == status
        assert pages.client.get("/livez").status_code == 200


def test_after_five_wrong_passwords_the_right_one_must_wait(fleet: Fleet) -> None:
    with fleet.pages(make_rules()) as pages:
        for _ in range(5):
            assert pages.client.get("/", auth=("ann", "wrong")).status_code == 401
        answer = pages.client.get("/", auth=("ann", PASSWORD))
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
        assert pages.client.get("/", auth=("bob", PASSWORD)).status_code == 200


def test_logins_at_the_same_time_try_no_more_passwords() -> None:
    async def log_in(gate: Gate, password: str) -> int:
        login = base64.b64encode(f"ann:{password}".encode()).decode()
        try:
            await gate.identify({"host": "x", "authorization": f"Basic {login}"}, "10.0.0.9")
        except Denied as denied:
            return denied.response.status_code
        return 200

    async def log_in_often() -> list[int]:
        gate = Gate(make_rules())
        guesses = [log_in(gate, f"wrong{n}") for n in range(14)]
        return await asyncio.gather(*guesses, log_in(gate, PASSWORD))

    answers = asyncio.run(log_in_often())
    assert answers[-1] == 429
    assert answers.count(401) < 5 + MAX_CHECKING


def test_only_the_proxy_may_name_a_user(fleet: Fleet) -> None:
    rules = Rules(allow_actions=True, proxy="testclient", user_header="X-User")
    with fleet.pages(rules) as pages:
        assert pages.client.get("/").status_code == 403
        assert ">carol<" in pages.client.get("/", headers={"x-user": "carol"}).text
    with fleet.pages(rules._replace(proxy="10.0.0.1")) as pages:
        assert pages.client.get("/", headers={"x-user": "carol"}).status_code == 403
    with fleet.pages(make_rules(proxy="testclient", user_header="X-User")) as pages:
        assert pages.client.get("/", headers={"x-user": "carol"}).status_code == 403
        assert "view only" in pages.client.get("/", headers={"x-user": "bob"}).text


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8025", "127.0.0.1.evil.example", ""]
)
def test_a_foreign_name_that_leads_to_this_address_is_refused(fleet: Fleet, host: str) -> None:
    with fleet.pages() as pages:
        assert pages.client.get("/", headers={"host": host}).status_code == 421
        for ours in ("127.0.0.1:8025", "localhost", "[::1]:8025"):
            assert pages.client.get("/", headers={"host": ours}).status_code == 200


def test_every_answer_has_the_protecting_headers(fleet: Fleet) -> None:
    with fleet.pages() as pages:
        for path in ("/", "/nothing", "/livez", "/static/live.js", "/static/style.css"):
            answer = pages.client.get(path)
            assert HEADERS.items() <= dict(answer.headers).items(), path
        assert "<script>" not in pages.html("/")
        assert " style=" not in pages.html("/")
        assert " on" + "click=" not in pages.html("/")


def test_a_base_path_is_before_every_address(fleet: Fleet) -> None:
    with fleet.pages(base="/watch") as pages:
        html = pages.html("/watch/")
        assert 'href="/watch/queues"' in html
        assert 'src="/watch/static/live.js' in html
        assert pages.client.get("/watch/livez").status_code == 200
        assert pages.client.get("/livez").status_code == 404
        assert pages.client.put("/watch/livez", headers=OURS).status_code == 405
        assert pages.client.get("/queues").status_code == 404


def test_a_file_of_users_that_others_can_change_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(make_entry("ann", "act", PASSWORD) + "\n# a comment\n")
    path.chmod(0o600)
    assert set(read_users(str(path))) == {"ann"}
    path.chmod(0o666)
    with pytest.raises(UsersError, match="other users can"):
        read_users(str(path))
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(UsersError, match="cannot read"):
        read_users(str(link))
    with pytest.raises(UsersError, match="does not exist"):
        read_users(str(tmp_path / "none"))


@pytest.mark.parametrize(
    "line", ["ann", "ann:act", "ann:admin:-", "a b:act:-", "ann:act:md5$x", "ann:act:secret"]
)
def test_a_wrong_line_is_named_without_its_hash(line: str) -> None:
    with pytest.raises(UsersError) as caught:
        parse_users(f"bob:view:-\n{line}", "users")
    assert "users, line 2" in str(caught.value)
    assert "secret" not in str(caught.value)


@settings(max_examples=20)
@given(st.text(min_size=8, max_size=40), st.text(min_size=8, max_size=40))
def test_only_the_same_password_is_right(one: str, other: str) -> None:
    hashed = users_module.hash_password(one)
    same = one.encode("utf-8", "replace") == other.encode("utf-8", "replace")
    assert check_password(one, hashed)
    assert check_password(other, hashed) == same


@given(st.text(max_size=60))
def test_no_header_breaks_the_parser(text: str) -> None:
    name, password = parse_basic(text)
    assert isinstance(name + password, str)
    assert not check_password(text, text)


def test_failures_are_forgotten_after_a_minute_and_limited_in_number() -> None:
    now = [0.0]
    counter = FailureCounter(clock=lambda: now[0])
    for number in range(3_000):
        counter.add(f"10.0.{number}")
    assert counter.count("10.0.0") == 0, "the oldest was dropped"
    assert counter.count("10.0.2999") == 1
    now[0] = 61.0
    assert counter.count("10.0.2999") == 0


def test_the_command_refuses_to_show_everything_to_everybody(run: object, tmp_path: Path) -> None:
    code, _, err = run("beanwatch", "web", "--listen", "0.0.0.0:0")  # type: ignore[operator]
    assert code == 2
    assert "--users FILE" in err
    code, _, err = run("beanwatch", "web", "--trusted-proxy", "127.0.0.1")  # type: ignore[operator]
    assert (code, "need each other" in err) == (2, True)


def test_an_address_that_is_not_free_is_exit_code_1_as_it_may_be_later(run: object) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        code, _, err = run("beanwatch", "web", "--listen", taken)  # type: ignore[operator]
    assert (code, f"cannot listen on {taken}" in err) == (1, True)
    code, _, err = run("beanwatch", "web", "--listen", "nonsense")  # type: ignore[operator]
    assert (code, "invalid address" in err) == (2, True)


def test_the_command_makes_the_line_of_a_user(run: object, tmp_path: Path) -> None:
    code, out, _ = run("beanwatch", "web", "--add-user", "ann", stdin=f"{PASSWORD}\n")  # type: ignore[operator]
    assert code == 0
    (user,) = parse_users(out, "users").values()
    assert (user.name, user.role, check_password(PASSWORD, user.hash)) == ("ann", "view", True)
    code, _, err = run("beanwatch", "web", "--add-user", "ann", stdin="short\n")  # type: ignore[operator]
    assert (code, "8 characters" in err) == (2, True)
    assert os.listdir(tmp_path) == []
