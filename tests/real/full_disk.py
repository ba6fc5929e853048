"""Jobs that beanstalkd loses track of: they need a binlog whose disk is full."""

import contextlib

import greenstalk


def fill_disk(client: "greenstalk.Client[str]") -> None:
    """Put jobs until the binlog has no room."""
    with contextlib.suppress(greenstalk.OutOfMemoryError):
        while True:
            client.put("x" * 1000)


def put_in_limbo(client: "greenstalk.Client[str]", jobs: int) -> int:
    """Bury jobs that the binlog cannot take down; how many are nowhere now."""
    lost = 0
    for _ in range(jobs):
        try:
            client.bury(client.reserve(timeout=0))
        except greenstalk.InternalError:
            lost += 1
    return lost
