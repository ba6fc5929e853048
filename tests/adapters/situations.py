"""Puts real workers into situations, and compares what the check says of them with the truth.

Each worker has a thread of its own, which starts it and puts it into one situation after the other.
A few workers play at the same time, as each start takes seconds of a processor. What is wrong with
a worker must be said once it can be known; until then, only what was true before.
"""

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from beanwatch.store.health import HEALTH, decide_health
from tests.adapters.workers import ForeignWorker, Kind, Records, check
from tests.real.waiting import WaitError, wait_until

SITUATIONS = ("idle", "busy", "hung", "stuck", "killed", "restarted", "stopped", "broker away")
# What the check says in each; `stuck` is a job in C code that holds the interpreter lock.
EXPECTED = {
    "idle": "idle",
    "busy": "busy",
    "hung": "hung",
    "stuck": "stuck",
    "killed": "dead",
    "restarted": "restarted",
    "stopped": "gone",
    "broker away": "blocked",
}
# Seen from another host, a process that says nothing may be in C code as well as dead.
ELSEWHERE = {**EXPECTED, "stuck": "dead or stuck", "killed": "dead or stuck"}
# The health that may be seen before: what was true, or is true of the worker's other processes.
BEFORE = {
    "idle": (),
    "busy": ("idle",),
    "hung": ("idle", "busy"),
    "stuck": ("idle", "busy", "hung"),
    "killed": ("idle",),
    "restarted": ("idle", "dead", "starting", "gone"),
    "stopped": ("idle", "stopping"),
    "broker away": ("idle",),
}
AFTER = {"killed": "dead", "stuck": "dead", "broker away": "blocked", "stopped": "gone"}
# Texts of the check, and what they say. The first that is found counts.
WORDS = (
    (r"no Python code has run in its process", "stuck"),
    (r"but its process \d+ is there", "stuck"),
    (r"stopped, or stuck in C code", "dead or stuck"),
    (r": hung ", "hung"),
    (r": dead", "dead"),
    (r": blocked", "blocked"),
    (r": restarted", "restarted"),
    (r"no worker .* sends a heartbeat", "gone"),
    (r"\d busy|: busy", "busy"),
    (r"\d idle|: idle", "idle"),
)
PATIENCE = 240.0  # seconds for the check to say it, on a machine that is busy with other tests
AT_A_TIME = 4  # workers
LONG = 3600  # seconds that a job may run which does not hang
SHORT = 2  # seconds that a job may run which hangs


class Seen(NamedTuple):
    """What the check said of a worker in a situation."""

    kind: str
    situation: str
    word: str
    elsewhere: str
    text: str

    @property
    def is_right(self) -> bool:
        expected = EXPECTED[self.situation], ELSEWHERE[self.situation]
        if self.situation == "stuck" and self.word == self.elsewhere == "stuck":
            return True  # the parent process tells it
        return (self.word, self.elsewhere) == expected


class Stage:
    """One worker, and the situations that it is put into."""

    def __init__(self, worker: ForeignWorker, records: Records, url: str) -> None:
        self.worker, self.records, self._url = worker, records, url
        self.slips: list[str] = []  # wrong answers before the right one
        self._killed_instances: set[str] = set()
        self._kind = worker.kind.name
        self._forks = self._kind.endswith(("fork", "prefork"))

    def health(self) -> str:
        """The worst health of the worker's processes, as the check would judge them now."""
        workers = self.records.read(self.worker.name)
        if not workers:
            return "gone"
        return max((decide_health(worker) for worker in workers), key=HEALTH.index)

    def become_idle(self, situation: str = "start") -> None:
        """Wait until the worker is ready."""
        try:
            wait_until(lambda: self.health() == "idle", PATIENCE)
        except WaitError as error:
            what = f"{self._kind} is not idle after {situation}, but {self.health()}"
            raise WaitError(f"{what}\n{self.worker.tail()}") from error

    def play(self, situation: str) -> Seen:
        """Put the idle worker into a situation, ask the check, and make it idle again."""
        recover = getattr(self, f"_{situation.replace(' ', '_')}")()
        self._await(situation)
        seen = self._ask(situation)
        recover()
        self.become_idle(situation)
        return seen

    def _await(self, situation: str) -> None:
        """Wait until the check can know it. What it says until then must not be wrong."""
        wanted = AFTER.get(situation, situation)
        if situation == "stuck" and self._forks and self._kind.startswith("rq"):
            wanted = "hung"
        if situation == "restarted":
            wanted = "idle"
        allowed = {*BEFORE[situation], wanted}

        def is_known() -> bool:
            now = self.health()
            if now not in allowed:
                self.slips.append(f"{self._kind}, {situation}: {now}")
            return now == wanted and (situation != "restarted" or self._tells_restart())

        wait_until(is_known, PATIENCE, f"{self._kind}: {situation}")
        if wanted == "hung" and situation == "stuck":
            wait_until(self._tells_silence, PATIENCE, f"{self._kind}: runs no Python code")

    def _tells_restart(self) -> bool:
        beats = [one.heartbeat for one in self.records.read(self.worker.name)]
        return all(
            beat is not None and beat.last_exit and beat.instance not in self._killed_instances
            for beat in beats
        )

    def _tells_silence(self) -> bool:
        (found,) = self.records.read(self.worker.name)
        job = found.heartbeat.job if found.heartbeat is not None else None
        return job is not None and "no Python code" in job.where

    def _ask(self, situation: str) -> Seen:
        within = () if situation == "restarted" else ("--restarted", "0")
        glob = ("--worker", f"*.{self.worker.name}*", *within)
        _, text = check(self._url, *glob)
        _, elsewhere = check(self._url, *glob, host="elsewhere")
        return Seen(self._kind, situation, find_word(text), find_word(elsewhere), text)

    # Each method puts the worker into a situation, and returns what makes it idle again.

    def _idle(self) -> Callable[[], object]:
        return lambda: None

    def _busy(self) -> Callable[[], object]:
        end = self.worker.file()
        self.worker.put_limited("busy", str(end), seconds=LONG)
        return end.touch

    def _hung(self) -> Callable[[], object]:
        end = self.worker.file()
        self.worker.put_limited("hang", str(end), seconds=SHORT)
        return end.touch

    def _stuck(self) -> Callable[[], object]:
        end = self.worker.file()
        self.worker.put_limited("hold_lock", str(end), seconds=SHORT)
        return lambda: self._kill_stuck(end)

    def _kill_stuck(self, end: Path) -> None:
        end.touch()
        if not self._forks:
            self.worker.kill()
            self.worker.start()
            return
        # The process of the job is the one that beats no more; that of RQ is the only child.
        stuck = [
            worker.heartbeat.pid
            for worker in self.records.read(self.worker.name)
            if worker.heartbeat is not None and decide_health(worker) == "dead"
        ]
        self.worker.kill(*(stuck or self.worker.processes()[-1:]))

    def _killed(self) -> Callable[[], object]:
        self.worker.kill()
        return self.worker.start

    def _restarted(self) -> Callable[[], object]:
        beats = [one.heartbeat for one in self.records.read(self.worker.name)]
        self._killed_instances = {beat.instance for beat in beats if beat is not None}
        self.worker.kill()
        self.worker.start()
        return lambda: None

    def _stopped(self) -> Callable[[], object]:
        self.worker.terminate()
        self.worker.wait()
        return self.worker.start

    def _broker_away(self) -> Callable[[], object]:
        self.worker.proxy.refuse()
        return self.worker.proxy.restore


def find_word(text: str) -> str:
    """What the check says, in a word."""
    return next((word for pattern, word in WORDS if re.search(pattern, text)), f"? {text}")


def play_all(
    stages: Sequence[Stage], chosen: Iterable[tuple[int, str]], tell: Callable[[str], object]
) -> Iterator[Seen]:
    """Play (number of a stage, situation); those of one stage after each other.

    What cannot be played is among the slips of its stage.
    """
    parts: list[list[str]] = [[] for _ in stages]
    for number, situation in chosen:
        parts[number].append(situation)

    def play(stage: Stage, situations: Sequence[str]) -> list[Seen]:
        seen: list[Seen] = []
        try:
            with stage.worker:
                stage.become_idle()
                for situation in situations:
                    began = time.monotonic()
                    seen.append(stage.play(situation))
                    lasted = time.monotonic() - began
                    tell(f"{seen[-1].kind}, {situation}: {seen[-1].word} ({lasted:.0f} s)")
        except AssertionError as error:  # the others play on
            stage.slips.append(str(error))
        return seen

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for found in pool.map(play, stages, parts):
            yield from found


def choose(seed: int, count: int, stages: int) -> list[tuple[int, str]]:
    """Choose situations at random, so that each comes equally often, and each worker too."""
    dice = random.Random(seed)
    situations = [SITUATIONS[number % len(SITUATIONS)] for number in range(count)]
    dice.shuffle(situations)
    return [(number % stages, situation) for number, situation in enumerate(situations)]


def format_matrix(seen: Sequence[Seen]) -> str:
    """Rows: the truth. Columns: what the check said on the worker's host, and how often."""
    counts = Counter((one.situation, one.word) for one in seen)
    words = [*dict.fromkeys(EXPECTED.values())]
    words += sorted({one.word for one in seen} - set(words))
    lines = [f"{'truth':<12}" + "".join(f"{word[:12]:>13}" for word in words)]
    for situation in SITUATIONS:
        row = (counts[situation, word] for word in words)
        lines.append(f"{situation:<12}" + "".join(f"{count or '.':>13}" for count in row))
    return "\n".join(lines)


def make_stages(
    kinds: Iterable[Kind], make: Callable[[Kind], ForeignWorker], url: str
) -> list[Stage]:
    """Make one worker of each kind. None is started."""
    records = Records(url)
    return [Stage(make(kind), records, url) for kind in kinds]


def judge(seen: Sequence[Seen], stages: Sequence[Stage]) -> list[str]:
    """What was wrong, as texts; [] if nothing was."""
    wrong = [
        f"{one.kind} is {one.situation}, but the check says {one.word!r}, and from another host "
        f"{one.elsewhere!r}: {one.text}"
        for one in seen
        if not one.is_right
    ]
    return wrong + [slip for stage in stages for slip in stage.slips]
