"""The runbook at the command line: the part for an alert, under every name it goes by."""

from collections.abc import Callable

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    "name", ["queue-depth", "check_queue_depth", "QUEUE_DEPTH", "#queue-depth"]
)
def test_the_part_for_an_alert_is_printed_under_any_of_its_names(run: Run, name: str) -> None:
    code, out, _ = run("beanwatch", "runbook", name)
    assert code == 0
    assert out.startswith("## queue-depth\n")
    assert out.count("\n## ") == 0


def test_without_a_name_all_of_it_is_printed(run: Run) -> None:
    code, out, _ = run("beanwatch", "runbook")
    assert code == 0
    assert out.startswith("# Runbook\n")
    assert "\n## worker-heartbeat\n" in out


def test_a_near_miss_is_named(run: Run) -> None:
    code, out, err = run("beanwatch", "runbook", "queue-dept")
    assert (code, out) == (2, "")
    assert "did you mean queue-depth?" in err
