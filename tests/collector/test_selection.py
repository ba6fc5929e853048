"""Which queues have a series, and which share one."""

from hypothesis import given
from hypothesis import strategies as st

from beanwatch.queues.selection import OTHER, Chosen, Selection, group

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
    assert group(chosen) == {"a": ["a"], "b": ["b"], OTHER: ["c", "d"]}


def test_expected_queues_come_first_and_those_with_a_series_keep_it():
    selection = Selection(max_queues=2, expected=["d"])
    assert selection.choose(["a", "b", "c", "d"], {"c"}) == Chosen(["d", "c"], ["a", "b"])


def test_expected_queues_have_a_series_each_however_many_there_are():
    selection = Selection(max_queues=2, expected=["d", "gone", "b", "c"])
    assert selection.choose(["a", "b", "c", "d"], {"a"}) == Chosen(["b", "c", "d"], ["a"])


def test_names_that_make_the_same_node_share_it():
    assert group(Chosen(["a.b", "a/b", "c", "_other"], ["x"])) == {
        "a_b": ["a.b", "a/b"],
        "c": ["c"],
        OTHER: ["_other", "x"],
    }


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
