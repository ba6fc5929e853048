"""Give orders to workers through their control queues, and gather what they answer."""

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from beanwatch.net.address import Address
from beanwatch.queues.base import ServerError
from beanwatch.queues.beanstalkd.connection import QueryConnection as Link
from beanwatch.queues.beanstalkd.stats import parse_stats
from beanwatch.worker.control.messages import (
    CONTROL_PRIORITY,
    CONTROL_TTR,
    REPLY_PREFIX,
    Answer,
    Args,
    Command,
    Message,
    MessageError,
    control_queue,
    encode,
    parse_answer,
)

# Seconds after the sender has given up in which an order still holds, as clocks differ.
EXPIRY_MARGIN = 5.0
CONNECT_TIMEOUT = 5.0


class Target(NamedTuple):
    """A worker that is to hear an order. An empty instance is any."""

    worker: str
    address: Address
    instance: str = ""


class CommandResult(NamedTuple):
    """What came of one order: the worker's answer, or why there is none."""

    worker: str
    answer: Answer | None
    trouble: str = ""

    @property
    def ok(self) -> bool:
        """True if the worker obeys."""
        return self.answer is not None and self.answer.ok


class ControlClient:
    """The orders that go to one server, and the queue where the answers come."""

    def __init__(self, address: Address, open_link: Callable[[Address, float], Link]) -> None:
        self.link = open_link(address, CONNECT_TIMEOUT)
        self.waiting: dict[str, tuple[str, int]] = {}  # order's id: worker, beanstalkd's job id
        self.answers: dict[str, Answer] = {}
        self._queue = REPLY_PREFIX + secrets.token_hex(8)
        self.link.ask([b"watch " + self._queue.encode(), b"ignore default"])

    def send(self, target: Target, command: Command, args: Args, expires_at: float) -> str:
        """Put one order; why it was not put, or ""."""
        order = secrets.token_hex(8)
        body = encode(Message(command, args, target.instance, expires_at, self._queue, order))
        put = b"put %d 0 %d %d\r\n%b" % (CONTROL_PRIORITY, CONTROL_TTR, len(body), body)
        use = b"use " + control_queue(target.worker).encode()
        reply = self.link.ask([use, put])[-1]
        if reply.word != b"INSERTED":
            return f"the order was not taken: {reply.word.decode()}"
        self.waiting[order] = target.worker, int(reply.args[0])
        return ""

    def receive(self, seconds: int) -> bool:
        """Wait so long for one answer; false if there was none."""
        self.link.extend()
        reply = self.link.ask_one(b"reserve-with-timeout %d" % seconds)
        if reply.word != b"RESERVED":
            return False
        self.link.ask_one(b"delete " + reply.args[0])
        try:
            answer = parse_answer(reply.body)
        except MessageError:
            return True
        worker, _ = self.waiting.pop(answer.id, ("", 0))
        if worker:
            self.answers[worker] = answer
        return True

    def take_back(self) -> dict[str, str]:
        """Delete what nobody answered; what is to be said of each worker."""
        self.link.extend()
        found = {}
        for worker, job_id in self.waiting.values():
            queue = control_queue(worker).encode()
            stats, reply = self.link.ask([b"stats-tube " + queue, b"delete %d" % job_id])
            if reply.word != b"DELETED":
                found[worker] = (
                    f"it was handed the order, and may obey it for {EXPIRY_MARGIN:g} s yet"
                )
            elif parse_stats(stats.body).get("current-watching"):
                found[worker] = "the order was taken back"
            else:
                found[worker] = (
                    f"nobody listens for it at {self.link.address}: it is gone, or cut off, "
                    "or its beanstalkd is another one (--server)"
                )
        return found


def _collect(
    posts: Iterable[ControlClient], end: float, trouble: dict[str, str], clock: Callable[[], float]
) -> None:
    """Read the answers until `end`, in turn: a silent worker of one server delays no other's."""
    open_posts = [post for post in posts if post.waiting]
    while open_posts and clock() < end:
        is_quiet = True
        for post in list(open_posts):
            try:
                is_quiet = not post.receive(1 if len(open_posts) == 1 else 0) and is_quiet
            except ServerError as error:
                trouble.update({worker: str(error) for worker, _ in post.waiting.values()})
                post.waiting.clear()
            if not post.waiting:
                open_posts.remove(post)
        if is_quiet and len(open_posts) > 1:
            time.sleep(0.05)


def give_order(
    targets: Sequence[Target],
    command: Command,
    args: Args | None = None,
    *,
    timeout: float,
    open_link: Callable[[Address, float], Link] = Link,
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
) -> list[CommandResult]:
    """Send one order to all targets and wait up to `timeout` seconds for all their answers.

    Orders that nobody took in time are deleted by their id, and expire soon after, so that
    a worker that comes back later does not obey them.
    """
    trouble: dict[str, str] = {}
    posts: dict[Address, ControlClient] = {}
    try:
        for address, group in _by_address(targets).items():
            try:
                post = posts[address] = ControlClient(address, open_link)
                for target in group:
                    expires_at = wall() + timeout + EXPIRY_MARGIN
                    if why := post.send(target, command, args or Args(), expires_at):
                        trouble[target.worker] = why
            except ServerError as error:
                trouble.update({target.worker: str(error) for target in group})
        _collect(posts.values(), clock() + timeout, trouble, clock)
        for post in posts.values():
            try:
                for worker, what in post.take_back().items():
                    trouble.setdefault(worker, f"no answer within {timeout:g} s; {what}")
            except ServerError as error:
                for worker, _ in post.waiting.values():
                    trouble.setdefault(worker, str(error))
    finally:
        for post in posts.values():
            post.link.close()
    answers = {worker: answer for post in posts.values() for worker, answer in post.answers.items()}
    return [
        CommandResult(target.worker, answers.get(target.worker), trouble.get(target.worker, ""))
        for target in targets
    ]


def _by_address(targets: Iterable[Target]) -> dict[Address, list[Target]]:
    groups: dict[Address, list[Target]] = {}
    for target in targets:
        groups.setdefault(target.address, []).append(target)
    return groups
