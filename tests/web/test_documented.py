"""The examples of JSON in docs/web.md are what the pages of a real fleet answer, field by field."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from beanwatch.config import ServerConfig
from beanwatch.web.site import PAGES
from tests.real import ROOT
from tests.records import make_job
from tests.web.conftest import Fleet, Pages
from tests.web.test_actions import ACT, act, plan

DOCS = ROOT / "docs" / "web.md"
EXAMPLE = re.compile(
    r"```text\n\$ curl [^\n]* 'http://127\.0\.0\.1:8025([^']*)'\n(.*?)```", re.DOTALL
)
PLAN = "/actions/plan"
# Objects whose keys are names of outcomes, states, fields of a server or of a form.
BY_NAME = ("outcomes", "counts", "native", "form")


def examples() -> dict[str, Any]:
    """Return the documented answers by their addresses."""
    found = {path: json.loads(text) for path, text in EXAMPLE.findall(DOCS.read_text())}
    assert found, "docs/web.md has no example"
    return found


@pytest.fixture
def pages(fleet: Fleet) -> Iterator[Pages]:
    """The pages of a fleet in which each list has an entry."""
    fleet.servers["rq"] = ServerConfig(fleet.redis.url, layout="rq")
    fleet.put("email", '{"job": "email.send", "id": "order-7"}')
    fleet.bury("email", "old")
    job = make_job(id="7", uuid="order-7", name="email.send", queue="email", progress=(3, 10))
    fleet.beat("web1.mail-1", queues=("email",), state="busy", jobs=(job,))
    for attempt in (1, 2):
        fleet.fail("7", b"{}", attempt=attempt, uuid="order-7", worker="web1.mail-1")
    with fleet.pages(ACT) as found:
        act(found, action="kick", server="q1", queue="email")
        fleet.bury("images")
        found.read()
        yield found


def answer(pages: Pages, address: str) -> Any:
    """Return what the page answers now; FAILURE and ACTION stand for ids that the fleet has."""
    parts = urlsplit(address)
    if parts.path == PLAN:
        return plan(pages, action="kick", server="q1", queue="images")
    query = dict(parse_qsl(parts.query))
    if query.get("id") == "FAILURE":
        query["id"] = pages.json("/failures", group="no")["failures"][0]["id"]
    if query.get("id") == "ACTION":
        query["id"] = pages.json("/actions")["actions"][0]["id"]
    return pages.json(parts.path, **query)


def shorten(value: Any, name: str = "") -> Any:
    """Return an answer as the docs show it: the first entry of each list, the start of texts."""
    if isinstance(value, dict):
        return {key: shorten(one, key) for key, one in value.items()}
    if isinstance(value, list):
        known = [one for one in value if one is not None]
        return [shorten(one) for one in (known or value)[:1]]
    if isinstance(value, str) and len(value) > 60:
        return f"{value[:60]}..."
    return round(value, 3) if isinstance(value, float) else value


def differences(told: Any, real: Any, path: str = "") -> Iterator[str]:
    """Yield how a documented value differs in its fields and their types from a real one.

    The docs leave out what another example has: the object or the list is empty there.
    """
    if told in (None, {}, []) or real is None:
        return
    if isinstance(told, dict) and isinstance(real, dict):
        if path.rpartition(".")[2] in BY_NAME:
            return
        for key in sorted(told.keys() ^ real.keys()):
            yield f"{path}.{key} is only in {'the docs' if key in told else 'the answer'}"
        for key in told.keys() & real.keys():
            yield from differences(told[key], real[key], f"{path}.{key}")
    elif isinstance(told, list) and isinstance(real, list):
        for one in told[:1]:
            yield from differences(one, real[0] if real else None, f"{path}[]")
    elif kind_of(told) != kind_of(real):
        yield f"{path}: {kind_of(told)} in the docs, {kind_of(real)} in the answer"


def kind_of(value: Any) -> str:
    """Return the type of a value in JSON."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return "number" if is_number else type(value).__name__


def test_each_example_has_the_fields_that_the_page_has(pages: Pages) -> None:
    for address, told in examples().items():
        real = answer(pages, address)
        found = list(differences(told, real))
        now = json.dumps(shorten(real), ensure_ascii=False)
        assert not found, f"{address}: {found}; the answer is now: {now}"


def test_each_page_has_an_example_and_each_list_an_entry() -> None:
    told = {urlsplit(address).path for address in examples()}
    assert told == {page.path for page in PAGES} | {PLAN}
