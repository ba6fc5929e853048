"""Workers killed at random: every job ends once, none is lost, every further run is recorded."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.soak.soak import Account, Plan, audit, soak


def check(account: Account) -> None:
    wrong = audit(account)
    assert not wrong, f"{len(wrong)} things are wrong:\n" + "\n".join(wrong[:20])


def test_a_few_workers_killed_at_random_lose_no_job(tmp_path: Path):
    account = soak(tmp_path, Plan(workers=6, jobs=400, seconds=8, kills_per_second=2))
    check(account)
    assert len(account.expected) > 400
    assert any(len(attempts) > 1 for attempts in account.begun.values())


@pytest.mark.soak
def test_fifty_workers_killed_at_random_for_two_minutes_lose_none_of_20_000_jobs(tmp_path: Path):
    def say(text: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{text}   ")

    account = soak(tmp_path, Plan(50, 20_000, 120, 1.5), say)
    entries = [entry for runs in account.recorded.values() for entry in runs]
    again = sum(entry.attempt > 1 for entry in entries)
    duplicates = account.put - len(account.expected)
    sys.stderr.write(
        f"\n{account.put} jobs put, {account.kills} kills; entries by outcome: "
        f"{dict(Counter(entry.outcome for entry in entries))}; {again} of runs beyond the first; "
        f"{duplicates} duplicates of follow-ups, told by their id\n"
    )
    check(account)
