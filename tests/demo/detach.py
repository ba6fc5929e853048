"""Leave the demo running: the terminal gets its prompt back, the demo lives on."""

import os
import signal
import sys
from collections.abc import Callable


def detached(play: Callable[[Callable[[int], None]], int]) -> int:
    """Run `play(let_go)` in a child. Its `let_go(code)` ends us with that code, not the child.

    The child is forked before anything is started, since servers die with the process that
    started them. Ctrl-C before `let_go` is passed on.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.setsid()
        code = 1
        try:
            code = play(lambda answer: _tell(writer, answer))
        finally:
            sys.stdout.flush()
            os._exit(code)
    os.close(writer)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda signum, _: os.kill(child, signum))
    if answer := os.read(reader, 1):
        return answer[0]
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _tell(writer: int, code: int) -> None:
    os.write(writer, bytes([code]))
    os.close(writer)
    silence = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # whoever reads our output sees its end
        os.dup2(silence, descriptor)
