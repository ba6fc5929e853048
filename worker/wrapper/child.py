"""Starts a program as a child process that nothing tells from one without beanwatch."""

import os
import resource
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from beanwatch.worker.wrapper.tree import PR_SET_PDEATHSIG, control_process

NOT_FOUND, NOT_EXECUTABLE = 127, 126  # exit codes, as of a shell
# Signals that Python ignores from its start on. Nobody can tell whether they were ignored before.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


class StartError(Exception):
    """Raised if a program cannot be started. `code` is the exit code for that."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def start_child(
    command: Sequence[str],
    make_environment: Callable[[], Mapping[str, str]],
    mask: set[signal.Signals],
    *,
    in_own_group: bool,
    ignores_children: bool,
) -> int:
    """Start a program and return its pid. Call this before a thread starts.

    It inherits all open files. `make_environment` is called in the child; `mask` are the signals
    that the child blocks. With `ignores_children` it ignores SIGCHLD. If this process is killed, so
    is the child. Raises StartError.
    """
    read_end, write_end = os.pipe()  # closed by exec: so the end of the pipe means that it started
    parent = os.getpid()
    child = os.fork()
    if not child:
        if ignores_children:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        _become(command, make_environment, mask, parent, write_end, in_own_group=in_own_group)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        problem = pipe.read()
    if problem:
        os.waitpid(child, 0)
        number = int(problem)
        code = NOT_FOUND if number in (2, 20) else NOT_EXECUTABLE  # ENOENT, ENOTDIR
        raise StartError(f"cannot start {command[0]}: {os.strerror(number)}", code)
    return child


def _become(
    command: Sequence[str],
    make_environment: Callable[[], Mapping[str, str]],
    mask: set[signal.Signals],
    parent: int,
    pipe: int,
    *,
    in_own_group: bool,
) -> NoReturn:
    """Replace this forked process by the program; write the error number to `pipe` if that fails.

    Signals were blocked before the fork: a handler of Python's would take them from the program.
    """
    try:
        if in_own_group:
            os.setpgid(0, 0)
        control_process(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was killed before that
            os._exit(NOT_EXECUTABLE)
        for number in _IGNORED_BY_PYTHON:
            signal.signal(number, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # else Python would handle it until exec
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.execvpe(command[0], list(command), dict(make_environment()))  # noqa: S606
    except OSError as error:
        os.write(pipe, str(error.errno).encode())
    except BaseException:
        os.write(pipe, b"22")  # EINVAL, for example a NUL byte in the command
    finally:
        os._exit(NOT_EXECUTABLE)


def end_as(status: int) -> int:
    """End this process as the program ended; return an exit code if it ended with one.

    `status` is an exit code, or minus the number of the signal that killed the program. A signal
    kills this process too, so that a shell or a service manager sees no difference. PID 1 cannot be
    killed so: it exits with 128 plus the number, as a shell would.
    """
    if status >= 0:
        return status
    number = -status
    if os.getpid() != 1:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the program has dumped its own core
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    return 128 + number
