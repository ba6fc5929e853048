"""CommandInbox: checks the commands that a worker receives, has them carried out, and answers."""

import time
from collections.abc import Callable

from beanwatch.light_typing import TYPE_CHECKING
from beanwatch.worker.control.messages import (
    Answer,
    Message,
    MessageError,
    control_queue,
    parse_message,
)
from beanwatch.worker.control.signature import SignatureChecker
from beanwatch.worker.monitor.exceptions import format_exception_line
from beanwatch.worker.monitor.internal_errors import InternalErrors

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

REFUSAL_LOG_INTERVAL = 10.0  # seconds; shortest time between two log lines about refused commands


class CommandInbox:
    """Passes the commands for one instance of a worker to `handle`, which returns the answer.

    If `secret` is not empty, commands that are not signed with it are refused. Raises nothing.
    """

    def __init__(
        self,
        worker: str,
        instance: str,
        handle: Callable[[Message], Answer | None],
        errors: InternalErrors,
        log: "FilteringBoundLogger",
        *,
        secret: bytes = b"",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._worker, self._instance = worker, instance
        self._handle, self._errors, self._log = handle, errors, log
        self._signatures = SignatureChecker(secret, control_queue(worker))
        self._clock = clock
        self._refused = 0  # commands since the last log line about them
        self._next_refusal_line = 0.0

    def process(self, body: bytes, age: float) -> tuple[str, Answer] | None:
        """Carry out the command in `body`. Return where to send the answer, and the answer.

        None: there is nothing to send. `age` is the time since the command was sent, in seconds.
        """
        message, refusal = self._read(body, age)
        if message is None:
            return None
        answer = self._refuse(message, refusal) if refusal else self._carry_out(message)
        return (message.reply_to, answer) if answer is not None and message.reply_to else None

    def _carry_out(self, message: Message) -> Answer | None:
        try:
            return self._handle(message)
        except Exception as error:
            self._errors.report(f"the command {message.command}", error)
            text = f"the command failed: {format_exception_line(error)}"
            return self._reject(message, text)

    def _refuse(self, message: Message, reason: str) -> Answer:
        return self._reject(message, f"the command was refused: {reason}; see workers.secret_file")

    def _reject(self, message: Message, text: str) -> Answer:
        return Answer(
            self._worker, self._instance, message.command, id=message.id, ok=False, text=text
        )

    def _read(self, body: bytes, age: float) -> tuple[Message | None, str]:
        """Return the command in a job's body, and why it is refused ("": it is not)."""
        command, refusal = self._signatures.check(body, time.time())
        try:
            message = parse_message(command, instance=self._instance, age=age)
        except MessageError as error:
            self._log.warning("ignored what is no command: {reason}", reason=str(error))
            return None, ""
        if message is None:
            self._log.info(
                "ignored a command: it has expired or was sent to another instance of this worker"
            )
            return None, ""
        refusal = refusal or self._signatures.check_instance(message)
        if refusal:
            self._log_refusal(message, refusal)
        return message, refusal

    def _log_refusal(self, message: Message, reason: str) -> None:
        self._refused += 1
        if self._clock() >= self._next_refusal_line:
            self._log.warning(
                "refused the command {command}: {reason}",
                command=message.command,
                reason=reason,
                refused=self._refused,
            )
            self._refused = 0
            self._next_refusal_line = self._clock() + REFUSAL_LOG_INTERVAL
