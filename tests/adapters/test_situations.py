"""Workers of all frameworks in situations chosen at random: the check never says a wrong word.

This is the short version; `make situations` plays a hundred.
"""

import random

from tests.adapters.brokers import Brokers
from tests.adapters.kinds import all_kinds
from tests.adapters.situations import (
    SITUATIONS,
    choose,
    find_word,
    format_matrix,
    judge,
    make_stages,
    play_all,
)

SEED = 20
COUNT = 24
WORKERS = 8


def test_the_check_says_what_is_true_of_workers_of_all_frameworks(brokers: Brokers) -> None:
    kinds = list(all_kinds())
    random.Random(SEED).shuffle(kinds)
    stages = make_stages(kinds[:WORKERS], brokers.make_worker, brokers.own.url)
    seen = list(play_all(stages, choose(SEED, COUNT, WORKERS), print))
    print(f"\n{format_matrix(seen)}")
    assert judge(seen, stages) == []
    assert len(seen) == COUNT


def test_each_situation_is_played_equally_often() -> None:
    played = [situation for _, situation in choose(seed=1, count=80, stages=7)]
    assert {played.count(situation) for situation in SITUATIONS} == {10}


def test_a_word_is_found_in_each_text_of_the_check() -> None:
    words = [
        find_word("OK - web1.a: idle"),
        find_word("OK - 3 workers: 1 busy, 2 idle"),
        find_word("CRITICAL - web1.a: no heartbeat for 11s: stopped, or stuck in C code"),
        find_word("CRITICAL - web1.a: dead, no heartbeat for 11s and its process 7 is gone"),
        find_word("CRITICAL - no worker *.a* sends a heartbeat"),
    ]
    assert words == ["idle", "busy", "dead or stuck", "dead", "gone"]
    assert find_word("UNKNOWN - Redis does not answer").startswith("?")
