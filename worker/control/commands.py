"""Commands that an application's monitor carries out, and the thread that calls its functions."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from beanwatch.net.address import BackgroundCall
from beanwatch.store.heartbeats import Heartbeat, heartbeat_tree
from beanwatch.worker.control.messages import MAX_DUMP, Answer, Message
from beanwatch.worker.monitor.stacks import dump_stacks

CALL_TIMEOUT = 2.0  # seconds until the answer is sent, and the next heartbeat made
# The commands that need nothing of the program.
OWN = ("status", "dump")
DEFAULT_ANSWERS = {
    "dump": "has no processes",
    "stop": "stops",
    "restart": "restarts",
    "wait": "takes no jobs until `resume`",
    "resume": "takes jobs again",
}


class CommandRequest(NamedTuple):
    """A command for the program. `origin` says who sent it, and why: a claim.

    `seconds`: for how long to take no jobs, for `wait`; None: until `resume`.
    """

    name: str
    origin: str
    seconds: float | None = None


# Carries a command out; returns the answer for its sender. Any exception is sent as the answer.
OnCommand = Callable[[CommandRequest], str | None]


class Commands:
    """Carries out commands by the functions of a program, each in a thread of its own.

    A function that takes longer than CALL_TIMEOUT runs on, but the answer does not wait for it.
    """

    def __init__(
        self,
        functions: Mapping[str, OnCommand],
        worker: str,
        make_record: Callable[[], Heartbeat],
        log: FilteringBoundLogger,
    ) -> None:
        self._functions, self._worker = functions, worker
        self._make_record, self._log = make_record, log
        self.stop_reason = ""  # who sent the command `stop`, if somebody did

    def handle(self, message: Message) -> Answer:
        """Carry out a command and return the answer to it."""
        name, origin = message.command, message.origin
        self._log.info("received the command {command} from {origin}", command=name, origin=origin)
        function = self._functions.get(name)
        if function is None and name in OWN:
            return self._tell(message)
        if function is None:
            return self._answer(message, ok=False, text=f"this program cannot {name}")
        if name == "stop":
            self.stop_reason = f"told to stop by {origin}"
        request = CommandRequest(name, origin, message.args.seconds)
        try:
            text = BackgroundCall(lambda: function(request), "beanwatch-command").wait(CALL_TIMEOUT)
        except TimeoutError:
            text = f"was told to {name}, and has not said yet whether it does"
        return self._answer(message, text=text or DEFAULT_ANSWERS[name])

    def restart(self, why: str) -> None:
        """Restart, because all workers were told to; if the program cannot, log that."""
        function = self._functions.get("restart")
        if function is None:
            self._log.warning("{why}; this program cannot obey", why=why)
        else:
            BackgroundCall(lambda: function(CommandRequest("restart", why)), "beanwatch-command")

    def _tell(self, message: Message) -> Answer:
        """Return the record, and for `dump` the stacks of all threads."""
        stacks = ""
        if message.command == "dump":
            stacks = dump_stacks()
            self._log.warning(
                "stacks of all threads, requested by {who}", who=message.origin, stacks=stacks
            )
        record = self._make_record()
        return Answer(
            self._worker,
            record.instance,
            message.command,
            id=message.id,
            beat=heartbeat_tree(record),
            dump=stacks[-MAX_DUMP:],
        )

    def _answer(self, message: Message, *, ok: bool = True, text: str = "") -> Answer:
        instance = self._make_record().instance
        return Answer(self._worker, instance, message.command, id=message.id, ok=ok, text=text)


def check_functions(functions: Mapping[str, OnCommand]) -> None:
    """Raise ValueError for a function of something that is no command for programs."""
    for name in functions:
        if name not in DEFAULT_ANSWERS:
            raise ValueError(f"command {name!r}: expected {', '.join(DEFAULT_ANSWERS)}")
