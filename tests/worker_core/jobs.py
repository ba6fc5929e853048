"""The application of the worker's tests: jobs that go wrong in every possible way."""

import asyncio
import ctypes
import gc
import itertools
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from beanwatch.worker import App, Bury, Context, Discard, JobTimeout, Retry
from tests.real import wait_until

app = App(version="test")
earlier: list[weakref.ref[Context]] = []


class Mail(msgspec.Struct):
    to: str
    copies: int = 1


def append(path: str, text: str) -> None:
    with Path(path).open("a") as file:
        file.write(text + "\n")


@app.job("ok")
def ok(ctx: Context, data: Any) -> None:
    if isinstance(data, dict) and "file" in data:
        append(data["file"], data.get("text", f"{ctx.job_id} {ctx.attempt}"))


@app.job("remember")
def remember(ctx: Context, data: Any) -> None:
    gc.disable()
    earlier.append(weakref.ref(ctx))
    if data == "fail":
        raise Bury("it does not work")
    if data == "watched":
        time.sleep(2.5)  # longer than two heartbeats, each of which looks for its line


@app.job("see-earlier")
def see_earlier(ctx: Context, data: Any) -> None:
    # Another thread may read the frames of the earlier job at this moment.
    wait_until(lambda: all(one() is None for one in earlier), timeout=5)


@app.job("mail")
def mail(ctx: Context, data: Mail) -> None:
    ctx.log.info("mail to {to}", to=data.to)


@app.job("fail", max_attempts=3, backoff=0)
def fail(ctx: Context, data: Any) -> None:
    raise RuntimeError("it does not work")


@app.job("fail-once", backoff=0)
def fail_once(ctx: Context, data: Any) -> None:
    if ctx.attempt == 1:
        raise RuntimeError("it does not work at first")


@app.job("fail-slowly")
def fail_slowly(ctx: Context, data: Any) -> None:
    raise RuntimeError("it does not work")


@app.job("raise", max_attempts=2, backoff=0)
def raise_it(ctx: Context, data: dict[str, Any]) -> None:
    kinds: dict[str, BaseException] = {
        "retry": Retry(data.get("delay"), "not yet"),
        "bury": Bury("beyond repair"),
        "discard": Discard("not wanted any more"),
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
        "generator": GeneratorExit(),
        "system": SystemError("a system error"),
    }
    raise kinds[data["kind"]]


@app.job("sleep", timeout=60)
def sleep(ctx: Context, data: dict[str, Any]) -> None:
    end = time.monotonic() + data["seconds"]
    if name := data.get("latin_1_name"):
        threading.current_thread().name = os.fsdecode(name.encode("latin-1"))
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(0.05, left))
    if "file" in data:
        append(data["file"], f"{ctx.job_id} {ctx.attempt}")


@app.job("progress", timeout=60)
def progress(ctx: Context, data: dict[str, Any]) -> None:
    for n in range(1000):
        ctx.note(f"page {n}")
        ctx.progress(n, 1000)
        time.sleep(data["seconds"] / 1000)


@app.job("soft", timeout=0.3, max_attempts=1)
def soft(ctx: Context, data: dict[str, Any]) -> None:
    """Waits in a system call, or computes; cleans up at its timeout."""
    near, _far = socket.socketpair()
    try:
        if data.get("loop"):
            while True:
                pass
        near.recv(1)
    except JobTimeout:
        append(data["file"], "cleaned up")
        raise


@app.job("loop", timeout=1, max_attempts=2, backoff=0)
def loop(ctx: Context, data: Any) -> None:
    """An endless loop that lets nothing end it."""
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue


@app.job("blocked", timeout=1, max_attempts=2, backoff=0)
def blocked(ctx: Context, data: Any) -> None:
    """A read that never returns, tried again whatever happens."""
    near, _far = socket.socketpair()
    while True:
        try:
            near.recv(1)
        except BaseException:
            continue


@app.job("regex", timeout=1, max_attempts=1)
def regex(ctx: Context, data: Any) -> None:
    """Holds the interpreter lock for years, but checks for signals now and then."""
    re.match(r"(a+)+$", "a" * 60 + "b")


@app.job("lock", timeout=1, max_attempts=1)
def lock(ctx: Context, data: Any) -> None:
    """Holds the interpreter lock and never checks for signals."""
    sum(itertools.repeat(0))


@app.job("hang", timeout=2, max_attempts=2, backoff=0)
def hang(ctx: Context, data: dict[str, Any]) -> None:
    """Outlasts the hard deadline, with a child process."""
    children = [subprocess.Popen(["sleep", "600"])]
    append(data["file"], str(children[0].pid))
    while True:
        try:
            children[0].wait()
            time.sleep(600)
        except BaseException:
            continue


@app.job("hang-bury", timeout=2, on_timeout="bury")
def hang_bury(ctx: Context, data: dict[str, Any]) -> None:
    hang(ctx, data)


@app.job("crash", max_attempts=3)
def crash(ctx: Context, data: dict[str, Any]) -> None:
    append(data["file"], f"attempt {ctx.attempt}")
    if data["how"] == "exit":
        os._exit(7)
    if data["how"] == "segfault":
        ctypes.string_at(0)
    if data["how"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


@app.job("tmp", max_attempts=1)
def tmp(ctx: Context, data: dict[str, Any]) -> None:
    (ctx.tmpdir / "file").write_text("x")
    append(data["file"], str(ctx.tmpdir))
    if data.get("fail"):
        raise RuntimeError("after writing")
    if data.get("crash"):
        os._exit(7)


@app.job("chain", max_attempts=1)
def chain(ctx: Context, data: dict[str, Any]) -> None:
    new_id = ctx.put("next", "ok", {"n": 1}, priority=7, ttr=9)
    append(data["file"], new_id)
    if data.get("crash"):
        os._exit(7)


@app.job("fork", max_attempts=1)
def fork(ctx: Context, data: dict[str, Any]) -> None:
    """The child comes back to the worker's own code."""
    if os.fork() == 0:
        append(data["file"], "child")
        sys.exit(0)
    os.wait()
    append(data["file"], "parent")


@app.job("async")
async def in_coroutine(ctx: Context, data: dict[str, Any]) -> None:
    await asyncio.sleep(0.01)
    append(data["file"], "awaited")


@app.job("async-soft", timeout=0.3, max_attempts=1)
async def async_soft(ctx: Context, data: dict[str, Any]) -> None:
    try:
        if data.get("block"):
            time.sleep(600)
        await asyncio.sleep(600)
    finally:
        append(data["file"], "cleaned up")


@app.job("threads", max_attempts=1)
def threads(ctx: Context, data: Any) -> None:
    """Puts jobs from several threads while the pulse touches the job."""
    workers = [
        threading.Thread(target=lambda: [ctx.put("next", "ok") for _ in range(50)])
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


@app.resource("fresh", max_idle=0)
@contextmanager
def fresh() -> Iterator[list[str]]:
    yield _log_resource("fresh")


@app.resource("kept", max_idle=60)
@contextmanager
def kept() -> Iterator[list[str]]:
    yield _log_resource("kept")
    append(os.environ["RESOURCE_LOG"], "kept closed")


def _log_resource(name: str) -> list[str]:
    append(os.environ["RESOURCE_LOG"], f"{name} opened")
    return []


@app.job("resource")
def use_resource(ctx: Context, data: Any) -> None:
    ctx.resource("fresh")
    ctx.resource("kept")


@app.job("wait-for-file", timeout=60)
def wait_for_file(ctx: Context, data: dict[str, Any]) -> None:
    append(data["started"], str(ctx.job_id))
    wait_until(lambda: Path(data["until"]).exists(), 50)
    append(data["file"], str(ctx.attempt))


@app.job("wait", timeout=60)
def wait(ctx: Context, data: dict[str, Any]) -> None:
    wait_until(lambda: Path(data["file"]).exists(), 50)


@app.job("give-away", timeout=60)
def give_away(ctx: Context, data: dict[str, Any]) -> None:
    """Releases its own job unnoticed, and runs until another worker has it."""
    connection = ctx._services.touch.__self__._connection  # type: ignore[attr-defined]
    connection.acknowledge("release", ctx.job_id)
    wait_until(lambda: Path(data["taken"]).exists(), 50)


@app.job("thread-stays")
def thread_stays(ctx: Context, data: Any) -> None:
    """Leaves a thread behind, for which Python waits at exit."""
    threading.Thread(target=time.sleep, args=(600,)).start()


@app.job("task-group", max_attempts=1)
async def task_group(ctx: Context, data: Any) -> None:
    """Two tasks fail, each with its own error; or one says that the job is beyond repair."""

    async def fail(error: Exception) -> None:
        raise error

    async with asyncio.TaskGroup() as group:
        if data:
            group.create_task(fail(Bury("beyond repair")))
        else:
            group.create_task(fail(ValueError("no such order")))
            group.create_task(fail(ConnectionError("mx1 is away")))


async def inner() -> None:
    await asyncio.sleep(30)


@app.job("async-sleep")
async def async_sleep(ctx: Context, data: Any) -> None:
    await inner()


@app.job("bad-backoff", max_attempts=2, backoff=lambda attempt: 1 / 0)
def bad_backoff(ctx: Context, data: Any) -> None:
    raise RuntimeError("it does not work")


@app.job("multiprocessing", max_attempts=1, timeout=10)
def with_multiprocessing(ctx: Context, data: Any) -> None:
    context = multiprocessing.get_context("fork")
    for start in (lambda child: child.start(), lambda child: _in_thread(child.start)):
        child = context.Process(target=time.sleep, args=(600,))
        start(child)
        child.terminate()
        child.join(5)
        if child.exitcode != -signal.SIGTERM:
            raise RuntimeError(f"the child ended with {child.exitcode}")


def _in_thread(function: Callable[[], None]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


@app.job("fork-and-stay", max_attempts=1)
def fork_and_stay(ctx: Context, data: dict[str, Any]) -> None:
    """Leaves a child process behind, which has copies of the worker's descriptors."""
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    Path(f"{data['file']}.new").write_text(str(child))
    Path(f"{data['file']}.new").rename(data["file"])
