"""What happens to the workers of one kind while jobs flow, and whether the checks tell it."""

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.demo.programs import BIN
from tests.real import WaitError
from tests.real.process import family_of
from tests.soak.kinds import read_age
from tests.soak.stage import Answer, Member, Stage, count_by, shorten

LONG_JOB = 4.0  # seconds; its process is killed while it runs
MOMENT = 4.0  # seconds of a cut, or of a freeze that nobody needs to be told
UNWATCHED_PAUSE = 3.0  # seconds between a kill and the next start if no check waits for it
# How much later than the kill the next process may have started, and how much is rounded away.
ROUNDING = 2.0  # seconds


Act = Callable[[], None]


class Account(NamedTuple):
    """What has happened to one kind, and what was wrong."""

    kind: str
    put: int
    done: int
    again: int  # runs of jobs that were done already
    lost: list[str]
    happened: Counter[str]
    told: Counter[str]
    own_ends: int  # workers that their framework ended, and that were started again
    wrong: list[str]

    def report(self) -> str:
        """Return the figures in words."""
        deaths = sum(self.happened[name] for name in DEATHS)
        told = sum(self.told[name] for name in DEATHS)
        others = [
            f"{count} {name}" for name, count in sorted(self.happened.items()) if name not in DEATHS
        ]
        return (
            f"{self.kind}: {self.put} jobs put, {self.done} done, {self.again} of them again, "
            f"{len(self.lost)} lost; {deaths} kills, {told} told; {', '.join(others)}; "
            f"{self.own_ends} ended by themselves"
        )


class Tormentor:
    """Does one thing after the other to a stage, and waits until the checks have told it."""

    def __init__(self, stage: Stage, dice: random.Random, tell: Callable[[str], None]) -> None:
        self._stage, self._dice, self._tell = stage, dice, tell
        self.happened: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.wrong: list[str] = []

    def torment(self, seconds: float) -> None:
        """Do each thing once, in a random order, again and again for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for name in self._dice.sample(self.names(), len(self.names())):
                if time.monotonic() > end:
                    return
                self.do(name)

    def names(self) -> list[str]:
        """Return what can happen to this kind."""
        return [name for name in TROUBLES if name != "killed child" or self._has_children]

    @property
    def _has_children(self) -> bool:
        return self._stage.kind.has_children and self._stage.is_watched

    def do(self, name: str) -> None:
        """Let one thing happen to one worker, and wait until all is well again."""
        member = self._dice.choice(self._stage.members)
        began = time.monotonic()
        self.happened[name] += 1
        try:
            TROUBLES[name](self, member)
            self.told[name] += self._stage.is_watched
            self._await_recovery(name)
        except WaitError as error:
            self.wrong.append(f"{name}: {error}")
        lasted = time.monotonic() - began
        self._tell(f"{member.name}: {name} ({lasted:.0f} s)")

    def _await_recovery(self, name: str) -> None:
        stage = self._stage
        if not stage.is_watched:
            stage.supervise()
            return

        def is_well() -> bool:
            now = [stage.answers(member) for member in stage.members]
            return all(
                answer is not None
                and answer.at > began
                and (answer.state == "OK" or read_age(answer.text, "restarted") is not None)
                for answer in now
            )

        began = time.monotonic()
        try:
            stage.wait(is_well, f"all workers are well after: {name}")
        except WaitError as error:
            last = [shorten(a.text) for a in map(stage.answers, stage.members) if a is not None]
            raise WaitError(f"{error}; the last answers: {last}") from error

    # -- troubles; each raises WaitError if the checks do not tell it

    def _kill(self, member: Member) -> None:
        """Kill a worker, and leave it dead until a check says so."""
        self._stage.kill(member)
        killed = time.monotonic()
        try:
            if self._stage.is_watched:
                self._await_answer(member, killed, "CRITICAL", "dead, no heartbeat")
            else:
                time.sleep(UNWATCHED_PAUSE)
        finally:
            self._stage.revive(member)

    def _kill_and_start(self, member: Member) -> None:
        """Kill a worker that is started again at once: its next instance tells the death."""
        self._stage.kill(member)
        killed = time.monotonic()
        self._stage.revive(member)
        self._await_restart(member, killed)

    def _await_restart(self, member: Member, killed: float) -> None:
        stage = self._stage
        if stage.is_watched:
            what = f"a check tells that {member.name} was killed and started again"
            other = stage.kind.end_without_broker
            stage.wait(lambda: tells_restart(stage.answers(member), killed, other), what)

    def _kill_child(self, member: Member) -> None:
        """Kill the process that runs a job."""
        stage, reason = self._stage, self._stage.kind.child_death
        before = self._count_failures(reason) if reason else 0
        job = stage.put(LONG_JOB)

        def find_process() -> tuple[Member, int] | None:
            for one in stage.members:
                for beat in stage.beats(one.name).values():
                    if any(run.id == job for run in beat.jobs):
                        # RQ beats in the parent; a job of the others runs where the beat is.
                        return one, family_of(beat.pid)[-1]
            return None

        member, pid = stage.wait(find_process, "a job runs in a child process")
        killed = time.monotonic()
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if reason:
            what = f"{member.name}: the kill of its child is among the failures"
            stage.wait(lambda: self._count_failures(reason) > before, what)
        else:
            self._await_restart(member, killed)

    def _count_failures(self, reason: str) -> int:
        """Return how many failures of jobs give this reason, by `beanwatch failures`."""
        argv: list[str | Path] = [
            BIN / "beanwatch",
            "failures",
            "list",
            "--json",
            "--reason",
            reason,
        ]
        argv += ["--config", self._stage.config]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
        return sum(sum(group["outcomes"].values()) for group in json.loads(done.stdout))

    def _freeze(self, member: Member) -> None:
        """Freeze a worker until a check says so."""
        member.send(signal.SIGSTOP)
        frozen = time.monotonic()
        try:
            if self._stage.is_watched:
                self._await_answer(member, frozen, "CRITICAL", "is stopped by a signal")
            else:
                time.sleep(MOMENT)
        finally:
            member.send(signal.SIGCONT)

    def _freeze_briefly(self, member: Member) -> None:
        self._do_for_a_moment(
            partial(member.send, signal.SIGSTOP), partial(member.send, signal.SIGCONT)
        )

    def _await_answer(self, member: Member, since: float, state: str, words: str) -> None:
        stage = self._stage

        def is_told() -> bool:
            answer = stage.answers(member)
            return (
                answer is not None
                and answer.at > since
                and answer.state == state
                and words in answer.text
            )

        try:
            stage.wait(is_told, f"a check says of {member.name}: {words}")
        except WaitError as error:
            answer = stage.answers(member)
            raise WaitError(f"{error}; it said: {answer and shorten(answer.text)}") from error

    def _do_for_a_moment(self, begin: Act, end: Act) -> None:
        begin()
        time.sleep(MOMENT)
        end()


def tells_restart(answer: Answer | None, killed: float, other_end: str = "") -> bool:
    """Return True if an answer tells of a death at this time (monotonic), and of no earlier one.

    `other_end` is a part of what is said if the framework itself has ended the next process since
    then: a check tells only the last end.
    """
    if answer is None or answer.at < killed:
        return False
    if not any(words and words in answer.text for words in ("killed", other_end)):
        return False
    age = read_age(answer.text, "restarted")
    return age is not None and age <= answer.at - killed + ROUNDING


Trouble = Callable[[Tormentor, Member], object]
# The names of a trouble are those in `Promise.loses`.
DEATHS: dict[str, Trouble] = {
    "killed": Tormentor._kill,
    "killed and started": Tormentor._kill_and_start,
    "killed child": Tormentor._kill_child,
}
TROUBLES: dict[str, Trouble] = {
    **DEATHS,
    "frozen": Tormentor._freeze,
    "frozen for a moment": Tormentor._freeze_briefly,
    "connection to the broker reset": lambda _, member: member.broker.reset(),
    "cut off from the broker": lambda self, member: self._do_for_a_moment(
        member.broker.refuse, member.broker.restore
    ),
    "connection to Redis reset": lambda _, member: member.redis.reset(),
    "cut off from Redis": lambda self, member: self._do_for_a_moment(
        member.redis.blackhole, member.redis.restore
    ),
    "broker restarted": lambda self, _: self._stage.restart_broker(),
    "Redis restarted": lambda self, _: self._stage.restart_redis(),
    "deployed": lambda self, member: self._stage.deploy(member),
}


def drain(stage: Stage) -> list[str]:
    """Restart all workers, and wait until all jobs are done; return those that are lost.

    A job that only a running process knows, because a reply to it was lost, comes back then.
    """
    stage.stop_putting()
    for member in stage.members:
        stage.stop(member)
        stage.revive(member)
    with suppress(WaitError):
        patience = stage.kind.promise.drained_within
        stage.wait(lambda: not stage.missing(), "all jobs are done", patience)
    return stage.missing()


def play(stage: Stage, seconds: float, seed: str, tell: Callable[[str], None]) -> Account:
    """Torment a stage that was started, drain it, and return the account."""
    tormentor = Tormentor(stage, random.Random(seed), tell)
    tormentor.torment(seconds)
    lost = drain(stage)
    runs = count_by(stage.runs())
    wrong = [*tormentor.wrong, *stage.judge_puts()]
    wrong += judge_losses(stage, lost, tormentor.happened)
    return Account(
        stage.kind.name,
        len(stage.put_at),
        len(stage.put_at) - len(lost),
        sum(runs.values()) - len(runs),
        lost,
        tormentor.happened,
        tormentor.told,
        len(stage.own_ends),
        wrong,
    )


def judge_losses(stage: Stage, lost: list[str], happened: Counter[str]) -> list[str]:
    """Return what is wrong: jobs are lost that the framework alone would not have lost."""
    allowed = sum(happened[name] * count for name, count in stage.kind.promise.loses.items())
    begun = sorted(set(lost) & set(stage.runs("begun")))
    wrong = [f"lost though they had begun: {begun[:9]}"] if begun else []
    if len(lost) > allowed:
        more = f"{len(lost)} jobs are lost, of which the framework alone loses {allowed}"
        wrong.append(f"{more}: {lost[:9]}")
    return wrong
