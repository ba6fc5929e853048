"""Make beanstalkd lose jobs, which happens if the disk of its binlog is full."""

import contextlib

import greenstalk


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
