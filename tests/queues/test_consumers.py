"""What a queue's consumers are said to do."""

from typing import Any

import pytest

from beanwatch.queues.consumers import CODES, STATES, Consumers, decide_consumers
from beanwatch.queues.model import QueueState, ServerState


def queue(**changes: Any) -> Consumers:
    return Consumers(**{"ready": 5, "held": 0, "idle": 0, "consumers": 1} | changes)


@pytest.mark.parametrize(
    ("now", "state"),
    [
        (queue(ready=0, consumers=0), "ok"),
        (queue(consumers=0), "no_consumer"),
        (queue(consumers=0, held=1), "no_consumer"),
        (queue(), "stalled"),
        (queue(held=1), "saturated"),
        (queue(idle=1), "ok"),
        (queue(idle=1, paused=True), "paused"),
        (queue(consumers=0, paused=True), "paused"),
        (queue(consumers=0, draining=True), "draining"),
        (queue(ready=0, paused=True), "ok"),
        (queue(paused=True, draining=True), "paused"),
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
        (queue(ready=0, idle=1), queue(held=1), "ok"),
        (queue(idle=1), queue(), "ok"),
        (queue(), queue(consumers=0), "no_consumer"),
    ],
)
def test_two_samples_tell_a_stall_from_a_worker_between_two_jobs(
    before: Consumers, now: Consumers, state: str
):
    assert decide_consumers(now, before) == state


@pytest.mark.parametrize(
    ("now", "state"),
    [
        (queue(ready=None), None),
        (queue(ready=None, consumers=0), None),
        (queue(idle=None), None),
        (queue(consumers=None), None),
        (queue(held=None), None),
        # What is known may suffice.
        (queue(ready=0, idle=None, consumers=None, held=None), "ok"),
        (queue(consumers=0, idle=None, held=None), "no_consumer"),
        (queue(idle=None, consumers=None, held=None, paused=True), "paused"),
        (queue(idle=None, consumers=None, held=None, draining=True), "draining"),
    ],
)
@pytest.mark.parametrize("before", [None, queue()])
def test_nothing_is_said_where_what_is_known_does_not_suffice(
    before: Consumers | None, now: Consumers, state: str | None
):
    assert decide_consumers(now, before) == state


@pytest.mark.parametrize(
    ("before", "now", "state"),
    [
        (queue(ready=None), queue(), None),
        (queue(idle=None), queue(), None),
        (queue(held=None), queue(), None),
        (queue(held=None), queue(held=1), None),
        # What is known may suffice.
        (queue(ready=None, held=None, idle=1), queue(), "ok"),
        (queue(ready=0, held=None, idle=None), queue(), "ok"),
        (queue(held=None, idle=None), queue(ready=4), "ok"),
        (queue(consumers=None), queue(), "stalled"),
        # A counter that only one of them tells says nothing of what was deleted.
        (queue(held=1, deletes=None), queue(held=1, deletes=1000), "saturated"),
        (queue(held=1, deletes=1000), queue(held=1, deletes=None), "saturated"),
        (queue(deletes=1000), queue(deletes=None), "stalled"),
    ],
)
def test_nothing_is_said_where_the_sample_before_does_not_suffice(
    before: Consumers, now: Consumers, state: str | None
):
    assert decide_consumers(now, before) == state


def test_the_consumers_of_a_queue_are_those_of_the_model():
    state = QueueState(
        "t", ready=1, reserved=2, consumers=3, idle_consumers=4, deletes=5, paused=True, held=6
    )
    assert Consumers.of(state, ServerState(draining=True)) == Consumers(1, 6, 4, 3, True, True, 5)
    assert Consumers.of(state._replace(paused=None), None) == Consumers(1, 6, 4, 3, deletes=5)


def test_what_consumers_hold_is_not_guessed_from_their_own_queue():
    """They may hold jobs of other queues: taking `reserved` for it would call them stalled."""
    state = QueueState("t", ready=1, reserved=0, consumers=3, idle_consumers=0)
    assert decide_consumers(Consumers.of(state, ServerState())) is None


def test_the_codes_rise_with_how_bad_it_is():
    assert [CODES[state] for state in STATES] == [0, 1, 2, 3, 4, 5]
    assert CODES["ok"] < CODES["draining"] < CODES["saturated"] < CODES["no_consumer"]
