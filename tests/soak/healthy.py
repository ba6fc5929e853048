"""Healthy load with deploys and restarts of servers: no check may say anything but OK."""

import random
import re
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from beanwatch.store.fleet import SETTLED_AFTER
from tests.soak.stage import Answer, Stage, shorten
from tests.soak.troubles import drain

DEPLOY_EVERY = 20.0  # seconds; the workers take turns
# When the servers restart, as shares of the whole time. The last restart of the queue server is so
# early that, of twenty minutes, some are left after the ten for which it is told.
BROKER_AT = (0.1, 0.2, 0.3)
REDIS_AT = (0.15, 0.25, 0.5, 0.8)
POLL = 0.5  # seconds
# The checks run each second. If they were as late as this, this machine had no time for the
# workers either: what the checks say around that is not judged.
LATE = 6.0  # seconds between two answers
AROUND = 60.0  # seconds before and after it
LEAST_JUDGED = 0.5  # of the time


END_WITHOUT_BROKER = "{end_without_broker}"  # stands for that of the kind of worker


class Grace(NamedTuple):
    """What a check may say after a server was restarted, for so long: docs/checks.md names it.

    `seconds` is None for the time that a kind of worker needs to connect again.
    """

    service: str  # a regular expression, as `words` is
    seconds: float | None
    words: str = ""


# Seconds from the moment in which a check has looked until its answer is here.
CHECKED = 5.0
# A deploy has none: a worker that stops on request has a minute until it must beat again.
GRACES: dict[str, tuple[Grace, ...]] = {
    "deploy": (),
    "broker": (
        Grace("queue server", 600 + CHECKED, r"was started .* ago"),
        Grace("failures|job failures", 600 + CHECKED, r"did not confirm the delete"),
        Grace("", None),
        # Celery may end a worker while it connects again; that is told for ten minutes.
        Grace("worker", 60 + 600 + CHECKED, END_WITHOUT_BROKER),
    ),
    "redis": (Grace("redis|worker|failures|consumers of", SETTLED_AFTER + CHECKED),),
}


class Transition(NamedTuple):
    """A deploy or a restart, from its beginning to its end (monotonic seconds)."""

    name: str  # a key of GRACES
    began: float
    ended: float


class HealthyAccount(NamedTuple):
    """What has happened to one kind, and what the checks have said wrongly."""

    kind: str
    put: int
    lost: list[str]
    transitions: list[Transition]
    answers: int  # that were judged
    unjudged: float  # seconds in which this machine was too busy
    false: list[str]
    wrong: list[str]

    def report(self) -> str:
        """Return the figures in words."""
        count = {name: sum(one.name == name for one in self.transitions) for name in GRACES}
        return (
            f"{self.kind}: {self.put} jobs put, {self.put - len(self.lost)} done; "
            f"{count['deploy']} deploys, {count['broker']} restarts of the broker, "
            f"{count['redis']} of Redis; {self.answers} answers, {len(self.false)} false alerts"
            + (f"; {self.unjudged:.0f} s not judged: too busy" if self.unjudged else "")
        )


def plan(seconds: float, members: int, dice: random.Random) -> list[tuple[float, str, int]]:
    """Return what happens: (seconds after the start, key of GRACES, number of the worker)."""
    found = [(share * seconds, "broker", 0) for share in BROKER_AT]
    found += [(share * seconds, "redis", 0) for share in REDIS_AT]
    deploys = int(seconds / DEPLOY_EVERY) or 1
    found += [
        ((number + dice.random()) * seconds / (deploys + 1), "deploy", number % members)
        for number in range(deploys)
    ]
    return sorted(found)


def judge(
    answers: Sequence[Answer],
    transitions: Sequence[Transition],
    reconnects_within: float,
    end_without_broker: str = "",
) -> list[Answer]:
    """Return the answers that are not OK and that no grace explains.

    The last two arguments are those of the kind of worker.
    """

    def explains(transition: Transition, grace: Grace, answer: Answer) -> bool:
        seconds = reconnects_within if grace.seconds is None else grace.seconds
        words = end_without_broker if grace.words == END_WITHOUT_BROKER else grace.words
        return (
            transition.began <= answer.at <= transition.ended + seconds
            and re.search(grace.service, answer.service) is not None
            and (bool(words) or not grace.words)
            and re.search(words, answer.text) is not None
        )

    return [
        answer
        for answer in answers
        if answer.state != "OK"
        and not any(
            explains(transition, grace, answer)
            for transition in transitions
            for grace in GRACES[transition.name]
        )
    ]


def find_busy(moments: Sequence[float]) -> list[tuple[float, float]]:
    """Return when this machine was too busy to judge, by the moments of all answers."""
    return [
        (before - AROUND, after + AROUND)
        for before, after in pairwise(moments)
        if after - before > LATE
    ]


def total(spans: Sequence[tuple[float, float]], began: float, ended: float) -> float:
    """Return how many seconds the spans, in the order of their beginnings, cover together."""
    covered, at = 0.0, began
    for start, end in spans:
        covered += max(0.0, min(end, ended) - max(start, at))
        at = max(at, end)
    return covered


def play(stage: Stage, seconds: float, seed: str, tell: Callable[[str], None]) -> HealthyAccount:
    """Put a stage that was started under load for so long, and return the account."""
    began = time.monotonic()
    transitions: list[Transition] = []
    for at, name, number in plan(seconds, len(stage.members), random.Random(seed)):
        run_until(stage, began + at)
        start = time.monotonic()
        if name == "deploy":
            stage.deploy(stage.members[number])
        elif name == "broker":
            stage.restart_broker()
        else:
            stage.restart_redis()
        transitions.append(Transition(name, start, time.monotonic()))
        tell(f"{stage.kind.name}: {name} ({transitions[-1].ended - start:.0f} s)")
    run_until(stage, began + seconds)
    assert stage.checks is not None
    ended, kind = time.monotonic(), stage.kind
    answers = [answer for answer in stage.checks.seen if answer.at >= began]
    busy = find_busy([began, *(answer.at for answer in answers), ended])
    judged = [one for one in answers if not any(start <= one.at <= end for start, end in busy)]
    false = judge(judged, transitions, kind.reconnects_within, kind.end_without_broker)
    unjudged = total(busy, began, ended)
    wrong = [describe(answer, began, transitions) for answer in false]
    if unjudged > (1 - LEAST_JUDGED) * (ended - began):
        wrong.append(f"this machine was too busy to judge the checks for {unjudged:.0f} s")
    if not kind.end_without_broker:
        wrong += [f"{name} ended by itself" for _, name in stage.own_ends]
    if silence := stage.checks.silence():
        wrong.append(silence)
    lost = drain(stage)
    wrong += stage.judge_puts()
    if lost:
        wrong.append(f"{len(lost)} jobs were not done: {lost[:9]}")
    return HealthyAccount(
        kind.name,
        len(stage.put_at),
        lost,
        transitions,
        len(judged),
        unjudged,
        [shorten(answer.text) for answer in false],
        wrong,
    )


def run_until(stage: Stage, at: float) -> None:
    """Supervise the workers until a moment (monotonic seconds)."""
    while (left := at - time.monotonic()) > 0:
        stage.supervise()
        time.sleep(min(POLL, left))


def describe(answer: Answer, began: float, transitions: Sequence[Transition]) -> str:
    """Return a false alert in words, with what happened last before it."""
    before = [one for one in transitions if one.began <= answer.at]
    last = f"{answer.at - before[-1].ended:.0f} s after: {before[-1].name}" if before else ""
    at = f"at {answer.at - began:.0f} s"
    return f"{at} {answer.service} {answer.state}: {shorten(answer.text)} ({last})"
