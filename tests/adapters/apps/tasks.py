"""What the jobs of all frameworks do. `path` names a file: the job ends once it exists."""

import ctypes
import json
import os
import time

IS_WATCHED = "UNWATCHED" not in os.environ  # by beanwatch
BROKER_OPTIONS = json.loads(os.environ.get("BROKER_OPTIONS", "{}"))  # of the framework


def quick(number: int = 0) -> int:
    return number


def work(ident: str, seconds: float) -> None:
    """Note that the job has begun, work, and note that it is done."""
    _note(f"begun {ident}")
    time.sleep(seconds)
    _note(f"done {ident}")


def _note(line: str) -> None:
    """Write a line: whole or not at all, as one short write."""
    file = os.open(os.environ["SOAK_RUNS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


def fail() -> None:
    raise RuntimeError("the printer is on fire")


def busy(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.02)


def hang(path: str) -> None:
    """Ignore what a time limit raises."""
    while not os.path.exists(path):
        try:
            time.sleep(0.02)
        except BaseException:
            continue


def hold_lock(path: str) -> None:
    """Hang in C code that does not release the interpreter lock, as a bad extension does."""
    if os.path.exists(path):  # its worker was killed, and the broker gives it to the next one
        return
    mutex = ctypes.create_string_buffer(64)
    for _ in range(2):
        ctypes.PyDLL(None).pthread_mutex_lock(mutex)


def leave() -> None:
    os._exit(0)


def vanish() -> None:
    """Die after somebody has deleted the job."""
    import rq

    job = rq.get_current_job()
    assert job is not None
    job.connection.delete(job.key)
    die()


def die() -> None:
    os.kill(os.getpid(), 9)
