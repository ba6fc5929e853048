"""What a scrape costs: the page of many queues, and plain building of the same text.

The plain text is joined from the same numbers and labels, which are ready as strings.
"""

import re
import time
from statistics import median

from beanwatch.collectors.poll.derive import ObservedQueue
from beanwatch.collectors.poll.observer import Observation
from beanwatch.collectors.poll.poller import Poll
from beanwatch.collectors.serve.board import Board
from beanwatch.queues.base import Chosen
from beanwatch.queues.model import QueueState, ServerState
from beanwatch.queues.servers import Server, parse_server

ROUNDS = 15


def make_board(count: int) -> Board:
    """Return a board that has seen one server with so many queues."""
    queues = {
        f"queue.{number}": ObservedQueue(
            QueueState(f"queue.{number}", number, 1, 0, 2, 5, 3, 1000, 990, None, 1.5, 20.25),
            *(4.0, 5.0, 12.5, "saturated"),
        )
        for number in range(count)
    }
    board = Board(60.0)
    seen = Observation(ServerState("1.13", "x", 10.0), queues, Chosen(list(queues)))
    board.post(Poll(Server("q1", parse_server("q1")), 0, seen, True, 0.1))
    return board


def build_plain(samples: list[tuple[str, str, str]]) -> bytes:
    """Join samples (name, labels, value) to the same text."""
    lines = []
    for name, labels, value in samples:
        lines.append(f"{name}{{{labels}}} {value}\n")
    return "".join(lines).encode()


def main() -> None:
    """Print the time of a page of 1,000 and of 10,000 queues, and its ratio to plain text."""
    print("| queues | time of a page | bytes | times plain building of the same text |")
    print("|---|---|---|---|")
    for count in (1_000, 10_000):
        board = make_board(count)
        text = board.page().text().decode()
        samples = re.findall(r"(?m)^(\w+)\{(.*)\} (\S+)$", text)
        pages, plains = [], []
        for _ in range(ROUNDS):
            started = time.process_time()
            board.page().text()
            between = time.process_time()
            build_plain(samples)
            plains.append(time.process_time() - between)
            pages.append(between - started)
        ratio = median(page / plain for page, plain in zip(pages, plains, strict=True))
        page = median(pages) * 1000
        print(f"| {count:,} | {page:.0f} ms | {len(text):,} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
