"""Sends commands to workers through their control queues, and collects their answers."""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import greenstalk

from beanwatch.net.address import Address
from beanwatch.queues.base import ServerError
from beanwatch.queues.beanstalkd.client import (
    count_watchers,
    open_client,
    reply_word,
    translate_errors,
)
from beanwatch.worker.api.envelope import EnvelopeError, check_target
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

# A command expires so many seconds after its sender gave up, since clocks differ.
EXPIRY_MARGIN = 5.0
REPLY_TIMEOUT = 5.0  # seconds for the server to connect, and to reply
POLL_INTERVAL = 0.05  # seconds, where several servers are asked in turn


class Target(NamedTuple):
    """A worker that is to receive a command. Instance "": whichever runs."""

    worker: str
    address: Address
    instance: str = ""


class CommandResult(NamedTuple):
    """The result of one command: the worker's answer, or the problem if there is none."""

    worker: str
    answer: Answer | None
    problem: str = ""

    @property
    def ok(self) -> bool:
        """True if the worker has accepted the command."""
        return self.answer is not None and self.answer.ok


class ControlClient:
    """Sends commands to the workers of one server, and receives answers in a queue of its own.

    Its methods raise ServerError, after which the connection is closed.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.waiting: dict[str, tuple[str, int]] = {}  # command's id: worker, beanstalkd's job id
        self.answers: dict[str, Answer] = {}  # by worker
        self._queue = REPLY_PREFIX + secrets.token_hex(8)
        self._client = open_client(address, REPLY_TIMEOUT)
        with self._exchange():
            self._client.watch(self._queue)
            self._client.ignore("default")

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def send(self, target: Target, command: Command, args: Args, expires_at: float) -> str:
        """Put one command; the reason if it could not be put, or ""."""
        command_id = secrets.token_hex(8)
        message = Message(command, args, target.instance, expires_at, self._queue, command_id)
        queue = control_queue(target.worker)
        try:
            check_target(queue, CONTROL_PRIORITY, 0, CONTROL_TTR)
        except EnvelopeError as wrong:
            return f"the command was not sent: {wrong}"
        with self._exchange():
            try:
                self._client.use(queue)
                job_id = self._client.put(encode(message), CONTROL_PRIORITY, 0, CONTROL_TTR)
            except greenstalk.BeanstalkdError as refused:
                return f"the command was refused: {reply_word(refused)}"
        self.waiting[command_id] = target.worker, job_id
        return ""

    def receive(self, seconds: int) -> bool:
        """Wait so long for one answer; false if none came."""
        with self._exchange():
            try:
                job = self._client.reserve(timeout=seconds)
            except greenstalk.TimedOutError:
                return False
            self._client.delete(job)
        try:
            answer = parse_answer(job.body)
        except MessageError:
            return True
        worker, _ = self.waiting.pop(answer.id, ("", 0))
        if worker:
            self.answers[worker] = answer
        return True

    def take_back(self) -> dict[str, str]:
        """Delete the commands without an answer; for each such worker, what became of it."""
        return {worker: self._take_back(worker, job_id) for worker, job_id in self.waiting.values()}

    def _take_back(self, worker: str, job_id: int) -> str:
        with self._exchange():
            watchers = count_watchers(self._client, control_queue(worker))
            try:
                self._client.delete(job_id)
            except greenstalk.NotFoundError:
                return f"it has received the command, and may obey it for {EXPIRY_MARGIN:g} s yet"
        if watchers:
            return "the command was taken back"
        return (
            f"nobody listens for it at {self.address}: it is gone, or cut off, "
            "or its beanstalkd is another one (--server)"
        )

    @contextmanager
    def _exchange(self) -> Iterator[None]:
        try:
            with translate_errors(self.address, REPLY_TIMEOUT):
                yield
        except ServerError:
            self.close()
            raise


def send_command(
    targets: Sequence[Target],
    command: Command,
    args: Args | None = None,
    *,
    timeout: float,
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
) -> list[CommandResult]:
    """Send one command to all targets and wait up to `timeout` seconds for their answers.

    A command that was not received in time is deleted by its id, and expires soon after, so that a
    worker that comes back later does not obey it.
    """
    problems: dict[str, str] = {}
    clients: dict[Address, ControlClient] = {}
    try:
        for address, group in _by_address(targets).items():
            try:
                client = clients[address] = ControlClient(address)
                for target in group:
                    expires_at = wall() + timeout + EXPIRY_MARGIN
                    if reason := client.send(target, command, args or Args(), expires_at):
                        problems[target.worker] = reason
            except ServerError as error:
                problems.update({target.worker: str(error) for target in group})
        _collect_answers(clients.values(), clock() + timeout, problems, clock)
        for client in clients.values():
            try:
                for worker, what in client.take_back().items():
                    problems.setdefault(worker, f"no answer within {timeout:g} s; {what}")
            except ServerError as error:
                for worker, _ in client.waiting.values():
                    problems.setdefault(worker, str(error))
    finally:
        for client in clients.values():
            client.close()
    answers = {worker: answer for c in clients.values() for worker, answer in c.answers.items()}
    return [
        CommandResult(target.worker, answers.get(target.worker), problems.get(target.worker, ""))
        for target in targets
    ]


def _collect_answers(
    clients: Iterable[ControlClient],
    end: float,
    problems: dict[str, str],
    clock: Callable[[], float],
) -> None:
    """Read answers until `end`, from the servers in turn: a silent worker delays no other's."""
    waiting = [client for client in clients if client.waiting]
    while waiting and clock() < end:
        is_quiet = True
        for client in list(waiting):
            try:
                is_quiet = not client.receive(1 if len(waiting) == 1 else 0) and is_quiet
            except ServerError as error:
                problems.update({worker: str(error) for worker, _ in client.waiting.values()})
                client.waiting.clear()
            if not client.waiting:
                waiting.remove(client)
        if is_quiet and len(waiting) > 1:
            time.sleep(POLL_INTERVAL)


def _by_address(targets: Iterable[Target]) -> dict[Address, list[Target]]:
    groups: dict[Address, list[Target]] = {}
    for target in targets:
        groups.setdefault(target.address, []).append(target)
    return groups
