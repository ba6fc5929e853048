"""Which queues have a series, and which share one."""

from hypothesis import example, given
from hypothesis import strategies as st

from beanwatch.queues.base import Chosen
from beanwatch.queues.selection import OTHER, Selection, name_nodes
from beanwatch.telemetry.nodes import node

NAMES = st.lists(st.sampled_from([f"t{n}" for n in range(12)]), unique=True, max_size=12)


def test_globs_include_and_exclude():
    selection = Selection(["email.*", "images"], ["*.test"])
    names = ["email.bulk", "email.test", "images", "images2", "default"]
    assert selection.choose(names, ()).own == ["email.bulk", "images"]


def test_beanwatchs_own_queues_are_never_sent():
    names = ["beanwatch.control.host.w1", "beanwatch.reply.x", "beanwatch.jobs"]
    assert Selection().choose(names, ()).own == ["beanwatch.jobs"]


def test_over_the_limit_the_rest_share_a_series():
    chosen = Selection(max_queues=2).choose(["a", "b", "c", "d"], ())
    assert chosen == Chosen(["a", "b"], ["c", "d"])


def test_expected_queues_come_first_and_those_with_a_series_keep_it():
    selection = Selection(max_queues=2, expected=["d"])
    assert selection.choose(["a", "b", "c", "d"], {"c"}) == Chosen(["d", "c"], ["a", "b"])


def test_expected_queues_have_a_series_each_however_many_there_are():
    selection = Selection(max_queues=2, expected=["d", "gone", "b", "c"])
    assert selection.choose(["a", "b", "c", "d"], {"a"}) == Chosen(["b", "c", "d"], ["a"])


def test_queues_whose_names_make_one_node_have_one_each():
    nodes = name_nodes(["a.b", "a/b", "c", "_other"])
    assert nodes["c"] == "c"
    assert len(set(nodes.values())) == 4
    for name in ("a.b", "a/b", "_other"):
        assert nodes[name].startswith(f"{node(name)}_")
        assert len(nodes[name]) == len(name) + 9, "a short hash"
    assert OTHER not in nodes.values(), "that series is of many"


def test_the_node_of_a_queue_is_the_same_wherever_it_stands_in_the_list():
    names = ["a.b", "a/b", "a_b", "c"]
    assert name_nodes(names) == name_nodes(reversed(names))


MADE = name_nodes(["a.b", "a/b"])["a.b"]


def test_a_node_fits_into_the_name_of_a_file_and_stays_unique() -> None:
    nodes = name_nodes(["é" * 127, "x" * 255, "x" * 254 + "y", "short"])
    assert nodes["short"] == "short"
    assert len(set(nodes.values())) == 4
    assert max(map(len, nodes.values())) <= 200


def test_a_queue_whose_name_looks_like_a_glob_is_selected_by_its_name() -> None:
    assert Selection(("jobs[1]",)).is_wanted("jobs[1]")
    assert Selection(("jobs[[]1]",)).is_wanted("jobs[1]")
    assert not Selection(("jobs[[]1]",)).is_wanted("jobs1")


@given(st.lists(st.text("ab./_", min_size=1, max_size=4), unique=True, max_size=30))
@example(["a.b", "a/b", MADE])
@example(["a.b", "a/b", MADE, name_nodes(["a.b", "a/b", MADE])[MADE]])
def test_no_two_queues_share_a_node_whatever_they_are_called(names: list[str]):
    nodes = name_nodes(names)
    assert list(nodes) == names
    assert len(set(nodes.values())) == len(names)
    assert OTHER not in nodes.values()
    for made in nodes.values():
        assert node(made) == made


@given(st.lists(NAMES, max_size=8), st.integers(1, 6))
def test_no_queue_ever_loses_its_series_to_another(lists: list[list[str]], most: int):
    selection = Selection(max_queues=most)
    before: set[str] = set()
    for names in lists:
        chosen = selection.choose(names, before)
        assert sorted([*chosen.own, *chosen.rest]) == sorted(names)
        assert len(chosen.own) == min(most, len(names))
        assert before & set(names) <= set(chosen.own)
        before = set(chosen.own)
