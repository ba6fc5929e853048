"""What a queue's consumers are said to do."""

import pytest

from beanwatch.queues.beanstalkd.stats import Stats
from beanwatch.queues.consumers import CODES, STATES, Consumers, count_held, decide_consumers


def queue(**counts: int) -> Consumers:
    return Consumers(**{"ready": 5, "held": 0, "waiting": 0, "watching": 1} | counts)


@pytest.mark.parametrize(
    ("now", "state"),
    [
        (queue(ready=0, watching=0), "ok"),
        (queue(watching=0), "no_watcher"),
        (queue(watching=0, held=1), "no_watcher"),
        (queue(), "stalled"),
        (queue(held=1), "saturated"),
        (queue(waiting=1), "ok"),
        (queue(waiting=1, pause_left=60), "paused"),
        (queue(watching=0, pause_left=60), "paused"),
        (queue(watching=0, draining=True), "draining"),
        (queue(ready=0, pause_left=60), "ok"),
    ],
)
def test_one_sample_decides_by_the_instant(now: Consumers, state: str):
    assert decide_consumers(now) == state


@pytest.mark.parametrize(
    ("before", "now", "state"),
    [
        (queue(), queue(), "stalled"),
        (queue(), queue(ready=9), "stalled"),
        (queue(deletes=1), queue(deletes=2), "saturated"),
        (queue(held=1, deletes=1), queue(held=1, deletes=5), "saturated"),
        (queue(held=1, deletes=1), queue(held=1, deletes=6), "ok"),  # all that were ready are done
        (queue(held=1, deletes=1), queue(held=1, ready=9, deletes=6), "ok"),
        (queue(held=1), queue(), "saturated"),
        (queue(held=1), queue(held=1), "saturated"),
        (queue(held=1), queue(held=1, ready=4), "ok"),
        (queue(ready=0), queue(), "ok"),
        (queue(ready=0, waiting=1), queue(held=1), "ok"),
        (queue(waiting=1), queue(), "ok"),
        (queue(), queue(watching=0), "no_watcher"),
    ],
)
def test_two_samples_tell_a_stall_from_a_worker_between_two_jobs(
    before: Consumers, now: Consumers, state: str
):
    assert decide_consumers(now, before) == state


@pytest.mark.parametrize(
    ("name", "reserved", "on_server", "watching", "held"),
    [
        ("t", 0, 0, 1, 0),
        ("t", 2, 2, 3, 2),
        ("t", 2, 9, 3, 2),
        ("t", 0, 2, 3, 0),  # one of the three holds none
        ("t", 0, 3, 3, 3),
        ("default", 0, 3, 3, 0),
    ],
)
def test_a_consumer_may_hold_a_job_of_another_queue(
    name: str, reserved: int, on_server: int, watching: int, held: int
):
    queue: Stats = {"name": name, "current-jobs-reserved": reserved, "current-watching": watching}
    assert count_held(queue, {"current-jobs-reserved": on_server}) == held


def test_the_codes_rise_with_how_bad_it_is():
    assert [CODES[state] for state in STATES] == [0, 1, 2, 3, 4, 5]
    assert CODES["ok"] < CODES["draining"] < CODES["saturated"] < CODES["no_watcher"]
