"""Run the demo in a child process that outlives the command, so that the prompt comes back."""

import os
import signal
import sys
from collections.abc import Callable


def run_detached(play: Callable[[Callable[[int], None]], int]) -> int:
    """Run `play(detach)` in a child process. Return the exit code for this process.

    When `play` calls `detach(code)`, this function returns `code`, and the child runs on. If it
    never does, the child's own exit code is returned. The child is forked before any server is
    started, because servers die with the process that started them. Ctrl-C and SIGTERM are passed
    on to the child.
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
    for descriptor in (0, 1, 2):  # close our output, so that a pipe that reads it ends
        os.dup2(silence, descriptor)
