"""A glob that stands for one name matches this name only, whatever characters it has."""

import shlex
import subprocess
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.checks.lib.own_services import OwnServices, matcher
from beanwatch.checks.lib.queue_words import queue_argument
from beanwatch.checks.lib.service_names import label_queues
from beanwatch.checks.lib.services import list_own, plan_services
from beanwatch.config.reader import parse
from beanwatch.globs import escape_name, is_queue_glob, matches, name_of
from beanwatch.queues.servers import resolve_servers
from beanwatch.quoting import nagios_name, nrpe_word, perf_label

printable = st.characters(exclude_categories=("C", "Zl", "Zp")).filter(str.isprintable)
names = st.text(printable, min_size=1, max_size=40)
special = st.text("ab*?[]!-^$';|=\\ ~é", min_size=1, max_size=6)
NAMES = [
    *(
        "a b",
        " a ",
        "a/b",
        "größe",
        "東京",
        "it's",
        '"x"',
        "pay$usd",
        "$ARG1$",
        "a!b",
        "-x",
        "--services",
    ),
    *(
        "a*",
        "a?",
        "[a]",
        "a[*]b",
        "a|b",
        "a=b",
        "a;b",
        "a,b",
        "a&b",
        "a\\",
        "~",
        "x" * 255,
        "é" * 127,
    ),
    *("all queues", "other queues", "a_b", "a'b", "$(touch PWNED)", "a`touch PWNED`"),
]


@given(names | special, names | special)
def test_an_escaped_name_matches_itself_and_nothing_else(name: str, other: str) -> None:
    glob = escape_name(name)
    assert name_of(glob) == name
    assert not glob.startswith("-")
    assert matches(name, glob)
    assert fnmatchcase(name, glob)
    assert matches(other, glob) == (other == name)
    assert fnmatchcase(other, glob) == (other == name)


@pytest.mark.parametrize(
    ("glob", "name"),
    [("email", "email"), ("email.*", None), ("a[*]b", "a*b"), ("[-]x", "-x"), ("a[bc]", None)],
)
def test_a_glob_stands_for_one_name_or_for_several(glob: str, name: str | None) -> None:
    assert name_of(glob) == name


def test_a_queue_whose_name_looks_like_a_glob_is_matched_by_its_name() -> None:
    assert matches("jobs[1]", "jobs[1]")
    assert matches("jobs1", "jobs[1]")


@pytest.mark.parametrize(
    "text", ["", "a\nb", "\x00", "\x1b[2J", "a\u202eb", "\udc80", "x" * 256, "é" * 128]
)
def test_what_no_reader_can_take_is_no_name(text: str) -> None:
    assert not is_queue_glob(text)


@pytest.mark.parametrize("name", NAMES)
def test_every_other_name_is_accepted_escaped_or_not(name: str) -> None:
    assert is_queue_glob(name)
    assert is_queue_glob(escape_name(name))


@given(st.lists(names | special, unique=True, max_size=30) | st.permutations(NAMES))
def test_no_two_queues_share_a_service_and_each_service_checks_only_its_queue(
    found: list[str],
) -> None:
    servers = resolve_servers({"q": "127.0.0.1"})
    globs = [escape_name(name) for name in found]
    services = plan_services(parse('[redis]\nurl = ""\n'), servers, {"q": globs})
    described = [service.name for service in services]
    assert len(set(described)) == len(described)
    assert all(name == name.strip() and name.isprintable() for name in described)
    own = [one for one in services if one.check == "queue_depth" and not one.is_rest]
    assert sorted(str(name_of(one.queue)) for one in own) == sorted(found)
    assert not any(one.covers_several for one in own)
    listed = list_own(services)
    has_own = matcher(listed.queues.get("q", ()))
    assert all(map(has_own, found))
    assert not has_own("a queue that came later")
    again = OwnServices(listed.queues)
    repeated = plan_services(parse('[redis]\nurl = ""\n'), servers, again.queues)
    assert [service.name for service in repeated] == described


def test_a_queue_that_comes_later_takes_no_service_of_another() -> None:
    before = label_queues(["a'b"])
    after = label_queues(sorted(["a$b", "a'b", "a_b"]))
    assert before["a'b"] == "a_b"
    assert after["a_b"] == "a_b"
    assert after["a'b"] == nagios_name("a'b", with_hash=True)
    assert len(set(after.values())) == 4


@given(st.lists(names | special, unique=True, max_size=20))
def test_no_two_queues_share_a_label_of_performance_data(found: list[str]) -> None:
    assert len({perf_label(name) for name in found}) == len(found)


def test_a_shell_passes_on_each_name_as_one_argument() -> None:
    quoted = " ".join(map(queue_argument, NAMES))
    nrpe = " ".join(nrpe_word(escape_name(name)).replace("$$", "$") for name in NAMES)
    for line in (quoted, nrpe):
        argv = ["sh", "-c", f"printf '%s\\0' {line}"]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        words = done.stdout.split("\0")[:-1]
        assert words == shlex.split(line)
        assert all(map(matches, NAMES, words))
