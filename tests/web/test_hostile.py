"""Names, reasons and bodies that anybody may have written: escaped, cut and visible everywhere."""

import json
import re
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from beanwatch.config import ServerConfig
from beanwatch.quoting import html_text
from beanwatch.web.history import POINTS, STEP, History
from beanwatch.web.render import Renderer, sparkline, when
from beanwatch.web.urls import Urls
from tests.records import make_job
from tests.web.conftest import Fleet

EVIL = (
    "\"><script>alert(1)</script><img src=x onerror='alert(1)'>\x1b[31m\u202eevil\x00"
    + "A" * 65_536
)
MARKS = ("<script>alert", "<img", "\x1b", "\u202e", "\x00", "A" * 17_000)


class Reader(HTMLParser):
    """Collects tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_no_page_lets_hostile_text_act(fleet: Fleet) -> None:
    queue = "a$()/;+_-." + "b" * 180
    fleet.bury(queue, EVIL[:60_000])
    fleet.put("..", EVIL[:100])
    fleet.beat(
        "web1.evil",
        queues=(queue, EVIL[:300]),
        state="busy",
        jobs=(
            make_job(
                id=EVIL[:100],
                name=EVIL,
                uuid=EVIL[:500],
                queue=queue,
                note=EVIL,
                where=EVIL,
                thread=EVIL,
                started_at=1.0,
            ),
        ),
        kind=EVIL,
        child_of=EVIL[:100],
        commands=("dump", EVIL[:100]),
        last_exit=EVIL,
        reason=EVIL,
        app_version=EVIL,
    )
    ident = fleet.fail(
        "1", EVIL.encode()[:60_000], job=EVIL, reason=EVIL, queue=EVIL, worker=EVIL,
        traceback=f"{EVIL}\nValueError: {EVIL}", outcome=EVIL[:50],
    )  # fmt: skip
    fleet.servers["sk"] = ServerConfig(fleet.redis.url, layout="sidekiq")
    names = ("class", "wrapped", "queue", "error_class", "error_message")
    dead = {**dict.fromkeys(names, EVIL), "jid": "evil", "failed_at": EVIL, "args": [EVIL]}
    fleet.redis.client().zadd("dead", {json.dumps(dead): 1e9})
    with fleet.pages() as pages:
        (kept,) = pages.json("/failures", group="no", server="sk")["failures"]
        for path, query in (
            *(("/failure", {"id": kept["id"]}), ("/job", {"id": "evil"})),
            ("/queue", {"server": "sk", "name": "dead-set"}),
            *((path, {}) for path in ("/", "/queues", "/workers", "/failures", "/checks")),
            *(("/servers", {}), ("/actions", {}), ("/failures", {"group": "no"})),
            *(("/queue", {"server": "q1", "name": name}) for name in (queue, "..")),
            *(("/worker", {"id": "web1.evil"}), ("/failure", {"id": ident})),
            *(("/job", {"id": EVIL[:900]}), ("/search", {"q": EVIL[:900]})),
            *(
                ("/queues", {"q": EVIL[:900]}),
                ("/workers", {"queue": EVIL[:900], "sort": EVIL[:9]}),
            ),
        ):
            html = pages.html(path, **query)
            assert not [mark for mark in MARKS if mark in html], path
            assert len(html) < 150_000, path
            reader = Reader()
            reader.feed(html)
            assert reader.tags.count("script") == 1, path
            assert "img" not in reader.tags
            assert not [name for name, _ in reader.attributes if name.startswith("on")]
            pages.json(path, **query)


@given(st.text(max_size=300), st.booleans())
def test_escaped_text_has_no_markup_and_nothing_invisible(text: str, keep_lines: bool) -> None:
    shown = html_text(text, 200, keep_lines=keep_lines)
    assert not re.search(r"[<>\"']", shown)
    assert re.sub(r"&(amp|lt|gt|quot|#39);", "", shown).count("&") == 0
    assert all(char.isprintable() or (keep_lines and char in "\n\t") for char in shown)


@given(st.text(max_size=200))
def test_any_name_survives_in_an_address(text: str) -> None:
    address = Renderer.mark(Urls("/x").queue("q1", text))
    assert re.fullmatch(r"/x/queue\?server=q1(&amp;name=[\w.*~%+-]+)?", address)


@given(st.floats() | st.none(), st.floats(0, 1e10))
def test_any_time_has_a_text(at: float | None, now: float) -> None:
    assert str(when(at, now)).isprintable()


@given(st.lists(st.floats(0, 1e12) | st.none(), max_size=POINTS))
def test_any_points_make_a_line(points: list[float | None]) -> None:
    assert "nan" not in str(sparkline(points, '"<x>'))
    assert "<x>" not in str(sparkline(points, '"<x>'))


@given(
    st.lists(st.tuples(st.floats(0, 20_000), st.floats(0, 1e6)), max_size=100),
    st.floats(0, 30_000),
)
def test_a_history_has_as_many_points_as_an_hour(
    added: list[tuple[float, float]], now: float
) -> None:
    history = History()
    for at, value in sorted(added):
        history.add("key", at, ready=value)
    points = history.points("key", "ready", now)
    assert len(points) in (0, POINTS)
    last = max((at for at, _ in added if at // STEP <= now // STEP), default=None)
    if last is not None and now - last < STEP * (POINTS - 2):
        values = [value for at, value in sorted(added) if at // STEP == last // STEP]
        if not any(at // STEP > now // STEP for at, _ in added):
            found = next(point for point in reversed(points) if point is not None)
            assert abs(found - sum(values) / len(values)) <= 1e-3 + 1e-5 * max(values)
