"""An application whose jobs harm their worker in every way short of killing it."""

import asyncio
import functools
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import msgspec

from beanwatch.worker import App, Bury, Context
from tests.real import wait_until
from tests.worker_core.jobs import append

app = App()


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text either")


class Base(BaseException):
    pass


@app.job("ok")
def ok(ctx: Context, data: Any) -> None:
    pass


@app.job("raise", max_attempts=1)
def raise_it(ctx: Context, data: dict[str, str]) -> None:
    if data["kind"] == "recursion":
        raise_it(ctx, data)
    one, two = RuntimeError("one"), RuntimeError("two")
    one.__cause__, two.__cause__ = two, one
    kinds: dict[str, BaseException] = {
        "unspeakable": UnspeakableError(),
        "base": Base("worse than an exception"),
        "surrogate": RuntimeError("\udcff"),
        "huge": RuntimeError("x" * 10_000_000),
        "cycle": one,
        "group": BaseExceptionGroup("g", [Base(), UnspeakableError()]),
        "cancelled": asyncio.CancelledError(),
        "syntax": SyntaxError("x", ("f", 1, "bad", "text")),  # Python itself fails to print it
    }
    raise kinds[data["kind"]]


@app.job("deep")
def deep(ctx: Context, data: Any) -> None:
    """Makes directories deeper than Python can recurse, as unpacking an archive may."""
    here = os.open(ctx.tmpdir, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=here)
        there = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = there
    os.close(here)


def plain(function: Any) -> Any:
    @functools.wraps(function)
    def call(ctx: Context, data: Any) -> Any:
        return function(ctx, data)

    return call


@app.job("hidden", timeout=2, max_attempts=1)
@plain
async def hidden(ctx: Context, data: dict[str, Any]) -> None:
    await asyncio.sleep(data["seconds"])
    append(data["file"], "ran")


@app.job("yields", max_attempts=1)
@plain
def yields(ctx: Context, data: Any) -> Iterator[int]:
    yield 1


@app.job("leaves", max_attempts=1)
def leaves(ctx: Context, data: dict[str, str]) -> None:
    """Leaves a thread behind that puts a job after this one has ended."""

    connection = ctx._services.touch.__self__._connection  # type: ignore[attr-defined]

    def put() -> None:
        wait_until(lambda: not connection.job_id)
        try:
            ctx.put("next", "ok")
        except Exception as error:
            append(data["file"], str(error))

    threading.Thread(target=put).start()


@app.job("forks")
def forks(ctx: Context, data: dict[str, str]) -> None:
    pid = os.fork()
    if pid == 0:
        sys.exit()
    append(data["file"], str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))


@app.job("soft", timeout=0.3, max_attempts=1)
def soft(ctx: Context, data: Any) -> None:
    time.sleep(600)


@app.job("cwd")
def cwd(ctx: Context, data: dict[str, str]) -> None:
    append(data["file"], os.getcwd())


@app.job("harm", max_attempts=1)
def harm(ctx: Context, data: dict[str, str]) -> None:
    kind = data["kind"]
    if kind == "signals":
        for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
    elif kind == "chdir":
        os.chdir(ctx.tmpdir)
    elif kind == "fds":
        for fd in range(3):
            os.close(fd)
    elif kind == "stdout":
        sys.stdout = sys.stderr = None  # type: ignore[assignment]
    elif kind == "thread":
        threading.Thread(target=time.sleep, args=(600,)).start()
        thread = threading.Thread(target=sys.exit, args=(5,))
        thread.start()
        thread.join()
    elif kind == "environ":
        os.environ.clear()


class Picky(msgspec.Struct):
    how: str

    def __post_init__(self) -> None:
        if self.how == "raise":
            raise KeyError("how")
        if self.how == "exit":
            sys.exit(5)
        if self.how == "hang":
            time.sleep(600)


@app.job("picky", timeout=0.3, max_attempts=1)
def picky(ctx: Context, data: Picky) -> None:
    pass


@app.job("color")
def color(ctx: Context, data: Literal["red"]) -> None:
    pass


@app.job("half")
def half(ctx: Context, data: Any) -> None:
    print("half a line", end="", flush=True)
    subprocess.run(["sh", "-c", "printf out; printf err >&2"], check=True)


@app.job("note", timeout=60)
def note(ctx: Context, data: Any) -> None:
    ctx.note("\udcff")  # as in a file's name that is no UTF-8
    ctx.progress(10**30, 10**5000)
    time.sleep(600)


@app.resource("sour", max_idle=0)
@contextmanager
def sour() -> Iterator[None]:
    yield
    sys.exit(5)


@app.job("sour")
def use_sour(ctx: Context, data: Any) -> None:
    ctx.resource("sour")


@app.job("hook")
def hook(ctx: Context, data: Any) -> None:
    pass


@app.after_job
def leave(ctx: Context, error: BaseException | None) -> None:
    if ctx.job == "hook":
        sys.exit(5)


@app.job("child", max_attempts=1)
def child(ctx: Context, data: dict[str, str]) -> None:
    """Forks a child that outlives the worker."""
    pid = os.fork()
    if pid == 0:
        try:
            ctx.put("next", "ok")
        except Exception as error:
            append(data["said"], str(error))
        time.sleep(600)
        os._exit(0)
    append(data["child"], str(pid))
    time.sleep(600)


@app.job("child_aborts", max_attempts=1)
def child_aborts(ctx: Context, data: dict[str, str]) -> None:
    """Outlives the crash of a forked child."""
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.abort()
    append(data["child"], str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
    time.sleep(600)


@app.job("closes")
def closes(ctx: Context, data: dict[str, float]) -> None:
    """Do as a daemon does at its start; then take the numbers for other files."""
    os.closerange(3, 256)
    for _ in range(int(data["files"])):
        os.open(os.devnull, os.O_WRONLY)
    time.sleep(data["seconds"])


@app.job("closes_async")
async def closes_async(ctx: Context, data: dict[str, float]) -> None:
    os.closerange(3, 256)
    await asyncio.sleep(data["seconds"])


@app.job("orphans", max_attempts=1)
def orphans(ctx: Context, data: Any) -> None:
    """Leave ten processes without a parent; the exit code of the eleventh must not be lost."""
    for _ in range(10):
        subprocess.run(["sh", "-c", "sleep 0.2 & true"], check=True)
    with subprocess.Popen(["sh", "-c", "exit 7"]) as child:
        time.sleep(0.5)
        if (code := child.wait()) != 7:
            raise Bury(f"the exit code is {code}")
