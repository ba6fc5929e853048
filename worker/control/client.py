"""Sends an operator's commands to workers, through beanstalkd or Redis; collects their answers."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import greenstalk

from beanwatch.net.address import Address
from beanwatch.net.redis_url import RedisUrl
from beanwatch.queues.base import ServerError
from beanwatch.queues.beanstalkd.client import (
    count_watchers,
    open_client,
    reply_word,
    translate_errors,
)
from beanwatch.store.audit import describe_user
from beanwatch.worker.api.envelope import EnvelopeError, check_target
from beanwatch.worker.control.channel import (
    EXPIRY_MARGIN,
    RECEIVED,
    REPLY_TIMEOUT,
    CommandChannel,
    Target,
)
from beanwatch.worker.control.messages import (
    CONTROL_PRIORITY,
    CONTROL_TTR,
    Answer,
    Args,
    Command,
    control_queue,
)
from beanwatch.worker.control.redis_client import RedisCommandClient
from beanwatch.worker.control.signature import HARMLESS

POLL_INTERVAL = 0.05  # seconds between two rounds over several servers


class CommandResult(NamedTuple):
    """The result of one command: the worker's answer, or why there is none (`problem`)."""

    worker: str
    answer: Answer | None
    problem: str = ""

    @property
    def ok(self) -> bool:
        """True if the worker has answered that it accepts the command."""
        return self.answer is not None and self.answer.ok


class BeanstalkdCommandClient(CommandChannel):
    """Sends commands to the workers of one beanstalkd, which read theirs from control queues.

    Connects at once.
    """

    def __init__(
        self, address: Address, secret: bytes = b"", sender: str = "", words: str = ""
    ) -> None:
        super().__init__(secret, sender, words)
        self._address = address
        self._sent: dict[str, int] = {}  # beanstalkd's job id by the id of the command
        self._client = open_client(address, REPLY_TIMEOUT)
        with self._exchange():
            self._client.watch(self.reply_to)
            self._client.ignore("default")

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def send(self, target: Target, command: Command, args: Args, lifetime: float) -> str:
        """Put one command into the worker's control queue; see CommandChannel."""
        command_id, body = self.encode(target, command, args, lifetime)
        queue = control_queue(target.worker)
        try:
            check_target(queue, CONTROL_PRIORITY, 0, CONTROL_TTR)
        except EnvelopeError as wrong:
            return f"the command was not sent: {wrong}"
        with self._exchange():
            try:
                self._client.use(queue)
                job_id = self._client.put(body, CONTROL_PRIORITY, 0, CONTROL_TTR)
            except greenstalk.BeanstalkdError as refused:
                return f"the command was not sent: beanstalkd replied {reply_word(refused)}"
        self._sent[command_id] = job_id
        self.expect_answer(command_id, target.worker)
        return ""

    def receive(self, seconds: int) -> bool:
        """Wait for one answer; see CommandChannel."""
        with self._exchange():
            try:
                job = self._client.reserve(timeout=seconds)
            except greenstalk.TimedOutError:
                return False
            self._client.delete(job)
        self.take_answer(job.body)
        return True

    def withdraw(self) -> dict[str, str]:
        """Delete the unanswered commands; see CommandChannel."""
        left = self._unanswered.items()
        return {worker: self._withdraw(worker, self._sent[sent]) for sent, worker in left}

    def _withdraw(self, worker: str, job_id: int) -> str:
        with self._exchange():
            watchers = count_watchers(self._client, control_queue(worker))
            try:
                self._client.delete(job_id)
            except greenstalk.NotFoundError:
                return RECEIVED
        if watchers:
            return "the command was withdrawn"
        return (
            f"no worker of this name listens at {self._address}: it has exited, has lost its "
            "connection, or uses another beanstalkd (--server)"
        )

    @contextmanager
    def _exchange(self) -> Iterator[None]:
        try:
            with translate_errors(self._address, REPLY_TIMEOUT):
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
    secret: bytes = b"",
    words: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> list[CommandResult]:
    """Send one command to all targets and wait up to `timeout` seconds for their answers.

    The workers log this user and host, and `words`, which say why the command is sent.

    A command that no worker has received by then is deleted. It also has an expiry time, so that a
    worker that reconnects later does not carry it out. Problems of servers and workers are in the
    results, one for each target in the given order; no exception is raised for them.

    With a `secret`, the commands are signed. A signed command must name the worker's instance, so
    targets without one are first asked for theirs, which can take another `timeout` seconds.
    """
    if secret and command not in HARMLESS and not all(target.instance for target in targets):
        return _ask_and_send(targets, command, args, timeout=timeout, secret=secret, words=words)
    problems: dict[str, str] = {}
    clients: dict[Address | RedisUrl, CommandChannel] = {}
    try:
        for server, group in _by_server(targets).items():
            try:
                client = open_channel(server, secret, words)
                clients[server] = client
                for target in group:
                    if reason := client.send(
                        target, command, args or Args(), timeout + EXPIRY_MARGIN
                    ):
                        problems[target.worker] = reason
            except ServerError as error:
                problems.update({target.worker: str(error) for target in group})
        _collect_answers(clients.values(), clock() + timeout, problems, clock)
        for client in clients.values():
            try:
                for worker, what in client.withdraw().items():
                    problems.setdefault(worker, f"no answer within {timeout:g} s; {what}")
            except ServerError as error:
                for worker in client.waiting:
                    problems.setdefault(worker, str(error))
    finally:
        for client in clients.values():
            client.close()
    answers = {worker: answer for c in clients.values() for worker, answer in c.answers.items()}
    return [
        CommandResult(target.worker, answers.get(target.worker), problems.get(target.worker, ""))
        for target in targets
    ]


def _ask_and_send(
    targets: Sequence[Target],
    command: Command,
    args: Args | None,
    *,
    timeout: float,
    secret: bytes,
    words: str,
) -> list[CommandResult]:
    """Ask the targets without an instance for theirs; then send the command to all of them."""
    unknown = [target for target in targets if not target.instance]
    results = {r.worker: r for r in send_command(unknown, "status", timeout=timeout, secret=secret)}
    found = [
        target._replace(instance=answer.instance)
        for target in unknown
        if (answer := results[target.worker].answer) and answer.ok
    ]
    known = [target for target in targets if target.instance]
    sent = send_command(
        [*known, *found], command, args, timeout=timeout, secret=secret, words=words
    )
    results.update({result.worker: result for result in sent})
    return [results[target.worker] for target in targets]


def open_channel(server: Address | RedisUrl, secret: bytes, words: str) -> CommandChannel:
    """Connect to the server through which commands reach some workers. Raises ServerError."""
    if isinstance(server, RedisUrl):
        return RedisCommandClient(server, secret, describe_user(), words)
    return BeanstalkdCommandClient(server, secret, describe_user(), words)


def _collect_answers(
    clients: Iterable[CommandChannel],
    end: float,
    problems: dict[str, str],
    clock: Callable[[], float],
) -> None:
    """Read answers from all servers in turn until `end` (monotonic), so none delays the others."""
    waiting = [client for client in clients if client.waiting]
    while waiting and clock() < end:
        is_quiet = True
        for client in list(waiting):
            try:
                is_quiet = not client.receive(1 if len(waiting) == 1 else 0) and is_quiet
            except ServerError as error:
                problems.update(dict.fromkeys(client.waiting, str(error)))
                client.stop_waiting()
            if not client.waiting:
                waiting.remove(client)
        if is_quiet and len(waiting) > 1:
            time.sleep(POLL_INTERVAL)


def _by_server(targets: Iterable[Target]) -> dict[Address | RedisUrl, list[Target]]:
    groups: dict[Address | RedisUrl, list[Target]] = {}
    for target in targets:
        groups.setdefault(target.server, []).append(target)
    return groups
