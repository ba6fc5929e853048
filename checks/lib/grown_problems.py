"""Finds services with more problems than in the round before, though their state is the same."""

from collections.abc import Mapping

from beanwatch.checks.lib.memory import FileMemory

MAX_PROBLEMS = 2_000  # of one service, that are remembered
FORGET_PROBLEM_AFTER = 600.0  # seconds


def has_grown(memory: FileMemory, key: str, state: int, found: Mapping[str, int]) -> bool:
    """Return True if a problem is new or worse, though the state is that of the last round.

    `found` has the rank of each problem of a service (the larger, the worse), `key` stands for the
    service, and `state` is its exit code. A problem is not new if the last round that judged the
    service had it, or a round in the last FORGET_PROBLEM_AFTER seconds.
    """
    if not found:
        return False
    now = memory.now
    match memory.recall(key):
        case [int() as last, dict() as before]:
            is_same = last == state
        case _:
            is_same, before = False, {}
    # That round can be an hour ago: nobody can judge the queues of a server that is down.
    judged_at = max((at for _, at in before.values()), default=now)
    known = {
        name: (rank, at)
        for name, (rank, at) in before.items()
        if at == judged_at or now - at <= FORGET_PROBLEM_AFTER
    }
    grown = is_same and any(
        name not in known or rank > known[name][0] for name, rank in found.items()
    )
    known |= {name: (rank, now) for name, rank in found.items()}
    kept = dict(sorted(known.items(), key=lambda item: -item[1][1])[:MAX_PROBLEMS])
    memory.remember(key, [state, kept])
    return grown
