"""What the worker is told, by an operator or a signal, and how it obeys."""

from structlog.typing import FilteringBoundLogger

from beanwatch.worker.control.messages import MAX_WAIT, Answer, Message
from beanwatch.worker.core.connection import Session
from beanwatch.worker.core.state import RECYCLED, STOPPED, Life
from beanwatch.worker.core.wake import Wake
from beanwatch.worker.guard.stacks import dump_stacks
from beanwatch.worker.telemetry.reporter import Reporter

MAX_DUMP = 30_000  # characters; beanstalkd takes 64 KiB a job


class Orders:
    """`wake` wakes the pulse, which does what a signal handler may not."""

    def __init__(
        self,
        worker: str,
        life: Life,
        session: Session,
        wake: Wake,
        reporter: Reporter,
        log: FilteringBoundLogger,
    ) -> None:
        self._worker, self._life, self._session = worker, life, session
        self._wake, self._reporter, self._log = wake, reporter, log
        self._is_dump_wanted = False

    def stop(self, why: str, code: int = STOPPED) -> None:
        """Finish the job in hand and exit; an idle worker at once."""
        self._life.stop(why, code)
        self._session.interrupt()

    def obey(self, message: Message) -> Answer:
        """Do what a control message says, and answer it."""
        self._log.info("told to {command}", command=message.command)
        text, dump = self._do(message)
        beat = self._reporter.make_beat()
        return Answer(
            self._worker,
            beat.instance,
            message.command,
            id=message.id,
            text=text,
            beat=beat._asdict() if message.command in ("status", "dump") else None,
            dump=dump,
        )

    def want_dump(self) -> None:
        """Log all stacks soon; for a signal handler."""
        self._is_dump_wanted = True
        self._wake.set()

    def tick(self, _now: float) -> None:
        """Log the stacks if a signal asked for them."""
        if self._is_dump_wanted:
            self._is_dump_wanted = False
            self._dump("SIGUSR1")

    def _do(self, message: Message) -> tuple[str, str]:
        held = self._life.job
        after = f" after {held.name} (job {held.id})" if held else ""
        if message.command == "stop":
            self.stop("told to stop")
            return f"stops{after}", ""
        if message.command == "restart":
            self.stop("told to restart", RECYCLED)
            return f"restarts{after}", ""
        if message.command == "wait":
            seconds = message.args.seconds
            self._life.wait(seconds or MAX_WAIT)
            self._session.interrupt()
            return f"waits{f' for {seconds:g} s' if seconds else ''}{after}", ""
        if message.command == "resume":
            self._life.wait(0)
            return "takes jobs", ""
        return "", self._dump("an operator") if message.command == "dump" else ""

    def _dump(self, who: str) -> str:
        stacks = dump_stacks()
        self._log.warning("stacks, as {who} asked", who=who, stacks=stacks)
        return stacks[-MAX_DUMP:]
