"""The live page in a real Chromium, with a real fleet, a real worker, and names that attack it."""

import json
import re
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import quote, urlencode

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response, expect

from beanwatch.store.heartbeats import WORKERS_KEY
from beanwatch.web import look_ups, snapshot
from beanwatch.web.access import Rules
from beanwatch.web.users import User, hash_password
from tests.demo.programs import Program
from tests.real import ROOT, Beanstalkd, Redis, wait_until
from tests.real.browser import open_browser
from tests.real.live_page import LivePage
from tests.records import make_job
from tests.web.conftest import Fleet

AXE = ROOT / ".browser/node_modules/axe-core/axe.min.js"
PASSWORD = "correct horse"
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
LONG_LINE = "A" * 65_536
EVIL = (
    "\"'><script>window.attacked=1</script><img src=x onerror='window.attacked=1'>"
    "{{7*7}}<b>\x1b[31m\u202eevil\u2066\x00\x85\n" + LONG_LINE
)
EVIL_QUEUE = "a$()/;+_-." + "b" * 180

expect.set_options(timeout=20_000)  # ms; the machine may be busy


class Site(NamedTuple):
    """A page that is read several times a second, and what it shows."""

    url: str
    fleet: Fleet
    page: LivePage
    failure: str  # the id of a failed run
    evil_failure: str


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as found:
        yield found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    hashed = hash_password(PASSWORD)
    users = {name: User(name, role, hashed) for name, role in (("ann", "act"), ("bob", "view"))}
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("BEANWATCH_STATE_DIR", str(directory / "state"))
        patch.setattr(snapshot, "INTERVAL", 0.3)
        patch.setattr(snapshot, "CHECKS_INTERVAL", 1.0)
        patch.setattr(look_ups, "KEPT", 0.3)
        beanstalkd = stack.enter_context(Beanstalkd(directory / "beanstalkd"))
        redis = stack.enter_context(Redis(directory / "redis"))
        fleet = Fleet(beanstalkd, redis)
        argv = ["beanwatch", "worker", "beanwatch.worker.example:app", "--queue", "real"]
        argv += ["--host", "web1", "--name", "real", "--server", beanstalkd.address]
        worker = Program("worker", [*argv, "--redis", redis.url], directory)
        worker.start()
        stack.callback(worker.kill)
        fleet.put("real", json.dumps({"job": "report.build", "data": {"fail": True}}))
        evil = attack(fleet)
        rules = Rules(allow_actions=True, users=users, hosts=("127.0.0.1",))
        page = LivePage(fleet.config, rules, timeout=5.0, interval=0.3)
        wait_until(lambda: page.reader.read_once() or page.reader.snapshot().failures.value[1:])
        failure = next(one for one in page.reader.snapshot().failures.value if one.queue == "real")
        stack.enter_context(page)
        page.login = f"ann:{PASSWORD}"
        yield Site(page.url, fleet, page, quote(failure.id), quote(evil))


def attack(fleet: Fleet) -> str:
    """Put hostile text into every place that a job, a worker or a producer can write."""
    fleet.bury(EVIL_QUEUE, EVIL[:60_000])
    fleet.put(EVIL_QUEUE, EVIL[:60_000])
    job = make_job(
        id="7", name=EVIL, uuid=EVIL[:500], queue=EVIL_QUEUE, note=EVIL, where=EVIL, thread=EVIL,
        started_at=1.0, progress=(3, 10),
    )  # fmt: skip
    fleet.beat(
        "web1.evil", queues=(EVIL_QUEUE, EVIL[:300]), state="busy", jobs=(job,), kind=EVIL,
        child_of=EVIL[:100], last_exit=EVIL, last_words=EVIL, reason=EVIL, app_version=EVIL,
        restart_refused=EVIL, recycled_why=EVIL, hostname=EVIL, recycles=2,
    )  # fmt: skip
    fleet.redis.client().zadd(WORKERS_KEY, {"web1.evil": 1e10})  # it lives during all tests
    texts = {"job": EVIL, "reason": EVIL, "queue": EVIL, "worker": EVIL, "outcome": EVIL[:50]}
    return fleet.fail("1", EVIL.encode()[:60_000], traceback=f"{EVIL}\n  {EVIL}", **texts)


Open = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Open]:
    """Opens a page as ann, who may act. It must cause no error and ask no other host."""
    faults: list[str] = []
    contexts: list[BrowserContext] = []

    def visit_page(path: str, **options: Any) -> Page:
        # A browser that is asked for credentials first writes the answer 401 into its console.
        login = b64encode(f"ann:{PASSWORD}".encode()).decode()
        context = browser.new_context(
            extra_http_headers={"Authorization": f"Basic {login}"}, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda it: faults.append(it.text) if it.type != "log" else None)
        page.on("pageerror", lambda it: faults.append(str(it)))
        page.on("dialog", lambda it: faults.append(f"dialog: {it.message}"))
        page.on(
            "request", lambda it: None if it.url.startswith(site.url) else faults.append(it.url)
        )
        page.goto(site.url + path)
        return page

    yield visit_page
    for context in contexts:
        context.close()
    assert faults == []


# -- what it shows


def queue(name: str) -> str:
    return "/queue?" + urlencode({"server": "q1", "name": name})


PAGES = {
    "overview": "/",
    "queues": "/queues",
    "a queue": queue("real"),
    "an evil queue": queue(EVIL_QUEUE),
    "workers": "/workers",
    "a worker": "/worker?id=web1.real",
    "an evil worker": "/worker?id=web1.evil",
    "failures": "/failures",
    "each failure": "/failures?group=no",
    "a failure": "/failure?id={failure}",
    "an evil failure": "/failure?id={evil_failure}",
    "a job": "/job?id=1",
    "an evil job": f"/job?id={quote(EVIL[:200])}",
    "checks": "/checks",
    "servers": "/servers",
    "search": "/search?q=a",
    "an evil search": f"/search?q={quote(EVIL[:200])}",
    "actions": "/actions",
}


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_accessible_fits_and_runs_no_hostile_text(
    site: Site, visit: Open, name: str
) -> None:
    page = visit(PAGES[name].format(**site._asdict()))
    expect(page.locator("#pulse")).to_have_text("Live")
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    check_looks(page)
    assert page.evaluate("window.attacked") is None
    invisible = "[\x00-\x08\x0e-\x1f\u202a-\u202e\u2066-\u2069]"
    assert not re.search(invisible, page.inner_text("body"))


def check_looks(page: Page) -> None:
    """Check that a page is accessible and no wider than the screen: wide, narrow, light, dark."""
    page.evaluate(AXE.read_text())
    for size in (WIDE, NARROW):
        page.set_viewport_size(size)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], size
        for scheme, rules in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
            page.emulate_media(color_scheme=scheme)
            options = {"resultTypes": ["violations"], **rules}
            found = page.evaluate("options => axe.run(options)", options)["violations"]
            faults = [f"{one['id']}: {one['nodes'][0]['html']}" for one in found]
            assert faults == [], f"{size['width']} pixels, {scheme}"


class Change(NamedTuple):
    """Something that changes on the server, and where a page shows it.

    `show` is a selector in the page at `path`; its text contains `before`, and then `after`.
    """

    path: str
    show: str
    before: str
    change: Callable[[Fleet], object]
    after: str


def fail_again(fleet: Fleet) -> None:
    fleet.fail("9", queue="changing", attempt=2)


CHANGES = {
    "overview": Change(
        "/", "#queues tr:has-text('changing') td:nth-child(3)", "3",
        lambda fleet: fleet.put("changing"), "4",
    ),
    "queues": Change(
        "/queues?q=changing", "#table td:nth-child(3)", "3",
        lambda fleet: fleet.put("changing"), "4",
    ),
    "a queue": Change(
        queue("changing"), "#state li:has-text('Waiting') .value", "3",
        lambda fleet: fleet.put("changing"), "4",
    ),
    "first jobs": Change(
        queue("changing"), "#jobs", "job ", lambda fleet: fleet.bury("changing"), "buried",
    ),
    "workers": Change(
        "/workers?q=changing", "#table tbody", "idle",
        lambda fleet: fleet.beat("web1.changing", processed=41, state="blocked"), "blocked",
    ),
    "a worker": Change(
        "/worker?id=web1.changing", "#facts", "5 done",
        lambda fleet: fleet.beat("web1.changing", processed=41), "41 done",
    ),
    "failures": Change(
        "/failures?queue=changing", "#table .count", "1 failed run", fail_again, "2 failed runs",
    ),
    "a failure": Change("/failure?id={changing}", "#detail", "Similar", fail_again, "attempt 2"),
    "a job": Change("/job?id=9", "#job", "attempt 1", fail_again, "attempt 2"),
    "checks": Change(
        "/checks?q=buried", "#table", "buried of", lambda fleet: fleet.bury("changing"),
        "changing: 1 job buried",
    ),
    "servers": Change(
        "/servers", "#table dl div:has-text('Queues')", "Queues",
        lambda fleet: [fleet.put(f"new-{n}") for n in range(60)], "6",
    ),
    "search": Change(
        "/search?q=found", "#hits", "Nothing", lambda fleet: fleet.put("found-late"), "found-late",
    ),
}  # fmt: skip


@pytest.fixture
def changing(site: Site) -> Iterator[str]:
    """A queue, a worker and a failure called `changing`. Returns the id of the failure."""
    for _ in range(3):
        site.fleet.put("changing")
    site.fleet.beat("web1.changing", processed=5, queues=("changing",))
    failure = site.fleet.fail("9", queue="changing")
    put_at = time.time()

    def is_shown() -> bool:
        shown = site.page.json(queue("changing"))
        # What was read before may be the queue of the test before, which is gone a moment later.
        return shown["read_at"] > put_at and shown["failed"] and shown["queue"]["ready"] == 3

    wait_until(is_shown)
    wait_until(lambda: site.page.json("/worker?id=web1.changing")["worker"]["processed"] == 5)
    yield failure
    with site.fleet.beanstalkd.client(watch="changing", use="changing") as client:
        client.kick(1000)
        while client.stats_tube("changing")["current-jobs-ready"]:
            client.delete(client.reserve(timeout=5))
    wipe = site.fleet.redis.client()
    wipe.zrem(WORKERS_KEY, "web1.changing")


@pytest.mark.parametrize("name", CHANGES)
def test_every_page_shows_what_changes_without_a_reload(
    site: Site, visit: Open, changing: str, name: str
) -> None:
    path, show, before, change, after = CHANGES[name]
    page = visit(path.format(changing=quote(changing)))
    shown = page.locator(show)
    expect(shown).to_contain_text(before)
    page.evaluate("window.isStillHere = true")
    change(site.fleet)
    expect(shown).to_contain_text(after)
    assert page.evaluate("window.isStillHere")


def test_focus_typed_text_and_open_details_survive_a_change(
    site: Site, visit: Open, changing: str
) -> None:
    page = visit(queue("changing"))
    page.locator("#jobs summary").first.click()
    page.locator("#jobs details[open]").wait_for()
    page.get_by_label("Delete all").select_option("ready")
    page.get_by_label("to", exact=True).press_sequentially("elsewhere")
    page.keyboard.press("Home")
    waiting = page.locator("#state li:has-text('Waiting') .value")
    expect(waiting).to_have_text("3")
    with site.fleet.beanstalkd.client(watch="changing", use="changing") as client:
        client.put("first", priority=0)
        client.bury(client.reserve(timeout=5))  # a button for it appears before the field
    expect(page.get_by_role("button", name="Kick buried jobs")).to_be_visible()
    expect(page.locator("#jobs details[open]")).to_have_count(1)
    expect(page.get_by_label("Delete all")).to_have_value("ready")
    expect(page.get_by_label("to", exact=True)).to_be_focused()
    page.keyboard.type("not-")
    expect(page.get_by_label("to", exact=True)).to_have_value("not-elsewhere")


def test_selected_text_stays_selected(site: Site, visit: Open, changing: str) -> None:
    page = visit(queue("changing"))
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#h-jobs'))")
    site.fleet.bury("changing")
    expect(page.locator("#jobs")).to_contain_text("buried")
    assert page.evaluate("String(getSelection())").strip() == "First jobs"


# -- whether it is live


def open_page(site: Site, browser: Browser) -> Page:
    """Open a page of ann whose errors on the console are meant. She is not shown anything yet."""
    login = b64encode(f"ann:{PASSWORD}".encode()).decode()
    context = browser.new_context(extra_http_headers={"Authorization": f"Basic {login}"})
    return context.new_page()


def hurry_script(page: Page, name: str, ms: int) -> None:
    """Give a time of the page's script another value."""

    def hurry(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(
            response=answer, body=re.sub(rf"{name} = [\d_]+", f"{name} = {ms}", answer.text())
        )

    page.route("**/static/live.js*", hurry)


def answer_stream(page: Page, path: str, **answer: Any) -> None:
    """Let the stream of a page get another answer than the server's."""

    def respond(route: Any) -> None:
        if route.request.resource_type == "eventsource":
            route.fulfill(**answer)
        else:
            route.continue_()

    page.route(f"**{path}", respond)


def test_a_page_that_gets_no_update_is_not_live_and_its_title_says_so(
    site: Site, browser: Browser
) -> None:
    """The stream is open, but nothing is in it: the server cannot render the page."""
    page = open_page(site, browser)
    hurry_script(page, "SILENT_FOR", 1_500)
    answer_stream(page, "/queues", content_type="text/event-stream", body="retry: 100\n\n")
    page.goto(site.url + "/queues")
    expect(page.locator("#pulse")).to_contain_text("No update for")
    expect(page).to_have_title(re.compile("^Old: Queues"))
    page.unroute("**/queues")
    expect(page.locator("#pulse")).to_have_text("Live")
    expect(page).to_have_title(re.compile("^Queues"))
    page.context.close()


def test_a_page_connects_again_after_a_proxy_refused_its_stream(
    site: Site, browser: Browser
) -> None:
    page = open_page(site, browser)
    hurry_script(page, "REOPEN_AFTER", 1_500)
    answer_stream(page, "/queues", status=502, body="Bad Gateway")
    page.goto(site.url + "/queues")
    expect(page.locator("#pulse")).to_have_text("No live updates: trying again")
    page.unroute("**/queues")
    expect(page.locator("#pulse")).to_have_text("Live")
    page.context.close()


def test_a_worker_that_comes_back_is_live_again(site: Site, visit: Open, changing: str) -> None:
    page = visit("/worker?id=web1.changing")
    pulse = page.locator("#pulse")
    expect(pulse).to_have_text("Live")
    site.fleet.redis.client().zrem(WORKERS_KEY, "web1.changing")
    expect(pulse).to_contain_text("it has stopped")
    site.fleet.beat("web1.changing", processed=6)
    expect(pulse).to_have_text("Live")
    expect(page.locator("#facts")).to_contain_text("6 done")


def test_the_title_of_the_tab_follows_the_verdict(site: Site, browser: Browser) -> None:
    page = open_page(site, browser)

    def look_well(route: Any) -> None:
        if route.request.resource_type == "eventsource":
            route.continue_()
            return
        answer = route.fetch()
        title = "<title>All is well · Overview"
        body = re.sub(r"<title>\w+ · Overview", title, answer.text())
        route.fulfill(response=answer, body=re.sub(r'data-title="\w+ ', 'data-title="well ', body))

    page.route(f"{site.url}/", look_well)
    page.goto(site.url + "/")
    expect(page).to_have_title(re.compile("^(critical|unknown|warning) · Overview"))
    page.context.close()


# -- what it does


def confirm(page: Page, what: str, yes: str) -> None:
    """Confirm the action that was planned, and wait for its end."""
    expect(page.locator(".plan")).to_contain_text(what)
    page.get_by_role("button", name=yes).click()
    expect(page.locator("#action .state")).to_have_text("done")


Stats = dict[str, Any]


class Action(NamedTuple):
    """What to press on the page of a queue, what it asks then, and what must be true after."""

    press: Callable[[Page], object]
    asks: str
    yes: str
    then: Callable[[Stats], bool]


def press(name: str) -> Callable[[Page], object]:
    return lambda page: page.get_by_role("button", name=name, exact=True).click()


def move_ready(page: Page) -> None:
    page.get_by_label("Move").select_option("ready")
    page.get_by_label("to", exact=True).fill("elsewhere")
    press("Move")(page)


def delete_ready(page: Page) -> None:
    page.get_by_label("Delete all").select_option("ready")
    press("Delete")(page)


ACTIONS = {
    "kick": Action(
        press("Kick buried jobs"), "Kick 2 buried jobs of acting", "Yes, 2 jobs",
        lambda stats: (stats["current-jobs-buried"], stats["current-jobs-ready"]) == (0, 5),
    ),
    "move": Action(
        move_ready, "Move 3 ready jobs", "Yes, 3 jobs",
        lambda stats: not stats["current-jobs-ready"],
    ),
    "delete": Action(
        delete_ready, "Delete 3 ready jobs", "Yes, 3 jobs",
        lambda stats: (stats["current-jobs-ready"], stats["current-jobs-buried"]) == (0, 2),
    ),
    "pause": Action(
        press("Pause for 1 h"), "Pause acting", "Yes", lambda stats: stats["pause"] == 3600
    ),
}  # fmt: skip


@pytest.fixture
def acting(site: Site) -> Iterator[str]:
    """A queue with two buried and three ready jobs, which the page knows."""
    for _ in range(2):
        site.fleet.bury("acting")
    for _ in range(3):
        site.fleet.put("acting")
    wait_until(lambda: site.page.json(queue("acting"))["queue"]["ready"] == 3)
    yield "acting"
    with site.fleet.beanstalkd.client(watch="acting", use="acting") as client:
        client.pause_tube("acting", 0)
        client.kick(1000)
        while client.stats_tube("acting")["current-jobs-ready"]:
            client.delete(client.reserve(timeout=5))

    def is_gone() -> bool:
        """Whether the page knows it, so that the next test does not see these jobs."""
        try:
            site.page.json(queue("acting"))
        except HTTPError as error:
            return error.code == 404
        return False

    wait_until(is_gone)


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_on_a_queue_asks_and_then_does_what_it_says(
    site: Site, visit: Open, acting: str, name: str
) -> None:
    action = ACTIONS[name]
    page = visit(queue(acting))
    action.press(page)
    expect(page.locator(".plan")).to_contain_text(action.asks)
    assert not action.then(site.fleet.beanstalkd.stats_tube(acting)), "it only asks"
    if name == "kick":
        check_looks(page)
    page.get_by_role("link", name="No").click()
    expect(page.locator("h1")).to_contain_text(acting)
    action.press(page)
    confirm(page, action.asks, action.yes)
    assert action.then(site.fleet.beanstalkd.stats_tube(acting))
    if name == "pause":
        page.goto(site.url + queue(acting))
        press("Resume")(page)
        confirm(page, "Resume acting", "Yes")
        assert site.fleet.beanstalkd.stats_tube(acting)["pause"] == 0
    if name == "kick":
        check_looks(page)
    page.goto(site.url + "/actions")
    expect(page.locator("#list table")).to_contain_text("ann")


def test_a_failed_run_is_retried_and_others_are_deleted(site: Site, visit: Open) -> None:
    buried = site.fleet.bury("again", "try me again")
    failure = site.fleet.fail(str(buried), b"try me again", queue="again", reason="mail is down")
    for number in (901, 902):
        site.fleet.fail(str(number), queue="again", reason="never mind")
    wait_until(lambda: site.page.json("/failures?queue=again")["failed"] == 3)
    page = visit(f"/failure?id={quote(failure)}")
    expect(page.locator("#detail")).to_contain_text("try me again")
    press("Retry")(page)
    confirm(page, "Retry 1 ", "Yes, 1 ")
    assert site.fleet.beanstalkd.stats_tube("again")["current-jobs-ready"] == 1
    page.goto(f"{site.url}/failures?queue=again&reason=never*")
    expect(page.locator("#table .count")).to_contain_text("2 failed runs")
    press("Delete all that fit")(page)
    confirm(page, "Delete 2 ", "Yes, 2 ")
    page.goto(f"{site.url}/failures?queue=again")
    expect(page.locator("#table .count")).to_contain_text("0 failed runs")


def test_a_real_worker_obeys_and_the_page_shows_it(site: Site, visit: Open) -> None:
    page = visit("/worker?id=web1.real")
    health = page.locator("#state .state").first
    expect(health).to_have_text("idle")
    press("Show its stacks")(page)
    expect(page.locator(".plan")).to_contain_text("web1.real")
    page.get_by_role("button", name="Yes").click()
    expect(page.locator("#action pre")).to_contain_text("File")
    for button, state in (("Take no more jobs", "waiting"), ("Take jobs again", "idle")):
        page.goto(site.url + "/worker?id=web1.real")
        press(button)(page)
        confirm(page, "web1.real", "Yes")
        page.goto(site.url + "/worker?id=web1.real")
        expect(health).to_have_text(state)


# -- who may not


POST = """async ([path, form]) => {
    const body = new URLSearchParams(form);
    return (await fetch(path, {method: "POST", body})).status;
}"""
KICK = {"action": "kick", "server": "q1", "queue": "acting"}


def test_who_may_only_look_has_no_button_and_is_refused(
    site: Site, browser: Browser, acting: str
) -> None:
    credentials = {"username": "bob", "password": PASSWORD}
    context = browser.new_context(http_credentials=credentials)
    page = context.new_page()
    page.goto(site.url + queue(acting))
    expect(page.locator("#status")).to_contain_text("bob (view only)")
    for path in (queue(acting), "/failures", "/worker?id=web1.real"):
        page.goto(site.url + path)
        assert page.locator("form[method=post]").count() == 0
    assert page.evaluate(POST, ["/actions/plan", KICK]) == 403
    assert page.evaluate(POST, ["/actions/run", KICK]) == 403
    assert site.fleet.beanstalkd.stats_tube(acting)["current-jobs-buried"] == 2
    context.close()


@pytest.mark.parametrize(
    "host", ["http://evil.example", "http://127.0.0.1:9", "http://localhost:9"]
)
def test_a_page_of_another_site_cannot_act_for_who_is_logged_in(
    site: Site, browser: Browser, acting: str, host: str
) -> None:
    credentials = {"username": "ann", "password": PASSWORD}
    context = browser.new_context(http_credentials=credentials)
    page = context.new_page()
    page.goto(site.url)  # ann is logged in
    fields = "".join(f"<input name={name} value={value}>" for name, value in KICK.items())
    html = (
        f"<form method=post action='{site.url}/actions/plan'>{fields}<button>Win!</button></form>"
    )
    page.route(f"{host}/**", lambda route: route.fulfill(content_type="text/html", body=html))
    page.goto(f"{host}/prize")
    with page.expect_response("**/actions/plan") as answer:
        page.get_by_role("button").click()
    response: Response = answer.value
    assert response.status == 403
    expect(page.locator("body")).to_contain_text("another site")
    assert site.fleet.beanstalkd.stats_tube(acting)["current-jobs-buried"] == 2
    context.close()


def test_no_other_site_can_put_it_into_a_frame(site: Site, browser: Browser) -> None:
    page = browser.new_page()
    with page.expect_console_message(lambda it: "frame-ancestors 'none'" in it.text):
        page.set_content(f"<iframe src='{site.url}/livez'></iframe>")
    page.close()


# -- without a mouse, and without a script


def test_all_is_reachable_by_keyboard(site: Site, visit: Open, acting: str) -> None:
    page = visit(queue(acting))

    def tab_to(name: str, most: int) -> None:
        for _ in range(most):
            page.keyboard.press("Tab")
            text = "document.activeElement.innerText || document.activeElement.ariaLabel"
            if page.evaluate(text) == name:
                break
        else:
            raise AssertionError(f"{name} is not reached by {most} times Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", f"the focus on {name} is not seen"

    tab_to("Skip to the content", 1)
    page.keyboard.press("Enter")
    tab_to("Kick buried jobs", 10)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Yes, 2 jobs")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#action .state")).to_have_text("done")
    tab_to("Skip to the content", 1)
    for name in ("beanwatch", "Overview", "Queues", "Workers", "Failures", "Checks", "Servers"):
        tab_to(name, 1)
    tab_to("Search for a job id, a worker or a queue", 1)
    page.keyboard.type("acting")
    page.keyboard.press("Enter")
    expect(page.locator("#hits")).to_contain_text("acting")


def test_without_javascript_it_reloads_and_acts(site: Site, visit: Open, changing: str) -> None:
    page = visit("/servers", java_script_enabled=False)

    def hurry(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace('content="10"', 'content="1"'))

    page.route("**/queue?*", hurry)
    page.goto(site.url + queue("changing"))
    waiting = page.locator("#state li:has-text('Waiting') .value")
    expect(waiting).to_have_text("3")
    site.fleet.put("changing")
    expect(waiting).to_have_text("4")
    page.unroute("**/queue?*")
    page.goto(site.url + queue("changing"))
    press("Pause for 1 h")(page)
    page.get_by_role("button", name="Yes").click()
    wait_until(lambda: site.page.json(queue("changing"))["queue"]["state"] == "paused")
    page.goto(site.url + queue("changing"))
    expect(page.locator("#state .state").first).to_have_text("paused")
    page.close()  # it would reload when the queue is gone
    with site.fleet.beanstalkd.client() as client:
        client.pause_tube("changing", 0)
