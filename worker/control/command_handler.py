"""CommandHandler: carries out the commands that an operator or a signal sends to this worker."""

from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from beanwatch.store.heartbeats import heartbeat_tree
from beanwatch.worker.control.messages import MAX_DUMP, MAX_WAIT, Answer, Message
from beanwatch.worker.control.restarter import Restarter
from beanwatch.worker.core.connection import WorkerConnection
from beanwatch.worker.core.state import STOPPED, WorkerState
from beanwatch.worker.core.wake import Wake
from beanwatch.worker.monitor.stacks import dump_stacks
from beanwatch.worker.telemetry.reporter import Reporter


class CommandHandler:
    """Carries out commands in the pulse thread, the worker's background thread.

    Signal handlers may call only `stop` and `request_dump`. A signal handler must not log, so
    `request_dump` sets a flag and wakes the pulse thread (`wake`), which then logs the stacks.
    """

    def __init__(
        self,
        worker: str,
        state: WorkerState,
        connection: WorkerConnection,
        wake: Wake,
        reporter: Reporter,
        restarter: Restarter,
        *,
        answer_later: Callable[[Message, Answer], object],
        log: FilteringBoundLogger,
    ) -> None:
        self._worker, self._state, self._connection = worker, state, connection
        self._wake, self._reporter, self._log = wake, reporter, log
        self._restarter, self._answer_later = restarter, answer_later
        self._is_dump_requested = False

    def stop(self, reason: str, code: int = STOPPED) -> None:
        """Have the worker finish its current job, if any, and exit with `code`.

        The heartbeat and the log show `reason`. Safe in signal handlers.
        """
        self._state.stop(reason, code)
        self._connection.interrupt()

    def handle(self, message: Message) -> Answer | None:
        """Carry out a command and return the worker's answer to it.

        None: the answer follows through `answer_later`.
        """
        self._log.info(
            "received the command {command} from {origin}",
            command=message.command,
            origin=message.origin,
        )
        if message.command == "restart":
            self._restart(message)
            return None
        text, dump = self._do(message)
        beat = self._reporter.make_heartbeat()
        return Answer(
            self._worker,
            beat.instance,
            message.command,
            id=message.id,
            text=text,
            beat=heartbeat_tree(beat) if message.command in ("status", "dump") else None,
            dump=dump,
        )

    def request_dump(self) -> None:
        """Have the pulse thread log the stacks of all threads. Safe in signal handlers."""
        self._is_dump_requested = True
        self._wake.set()

    def tick(self, _now: float) -> None:
        """Log the stacks of all threads if a signal has requested them."""
        if self._is_dump_requested:
            self._is_dump_requested = False
            self._dump("SIGUSR1")

    def _restart(self, message: Message) -> None:
        def answer(ok: bool, text: str) -> None:
            instance = self._reporter.make_heartbeat().instance
            self._answer_later(
                message,
                Answer(self._worker, instance, "restart", id=message.id, ok=ok, text=text),
            )

        self._restarter.restart(f"told to restart by {message.origin}", answer)

    def _do(self, message: Message) -> tuple[str, str]:
        """Carry out a command; return the answer's `text` and its `dump`."""
        job = self._state.job
        after = f" after {job.name} (job {job.id})" if job else ""
        if message.command == "stop":
            self._state.is_stopped_by_command = True
            self.stop(f"told to stop by {message.origin}")
            return f"stops{after}", ""
        if message.command == "wait":
            seconds = message.args.seconds
            self._state.wait(seconds or MAX_WAIT, message.origin if message.sender else "")
            self._connection.interrupt()
            return f"waits{f' for {seconds:g} s' if seconds else ''}{after}", ""
        if message.command == "resume":
            self._state.wait(0)
            return "takes jobs again", ""
        return "", self._dump(message.origin) if message.command == "dump" else ""

    def _dump(self, who: str) -> str:
        stacks = dump_stacks()
        self._log.warning("stacks of all threads, requested by {who}", who=who, stacks=stacks)
        return stacks[-MAX_DUMP:]
