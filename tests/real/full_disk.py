"""A full disk for the files of our commands, and for the binlog of beanstalkd, which loses jobs."""

import contextlib
import resource
from collections.abc import Iterator

import greenstalk


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """Let every write to a file fail, here and in the commands that are started meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill_disk(client: "greenstalk.Client[str]") -> None:
    """Put jobs until the disk of the binlog is full."""
    with contextlib.suppress(greenstalk.OutOfMemoryError):
        while True:
            client.put("x" * 1000)


def lose_jobs(client: "greenstalk.Client[str]", jobs: int) -> int:
    """Bury jobs while the disk is full. Return how many the server lost."""
    lost = 0
    for _ in range(jobs):
        try:
            client.bury(client.reserve(timeout=0))
        except greenstalk.InternalError:
            lost += 1
    return lost
