"""The runbook at the command line: the part for an alert, under every name it goes by."""

from collections.abc import Callable

import pytest

from beanwatch.checks.registry import CHECKS

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    "name", ["queue-depth", "check_queue_depth", "QUEUE_DEPTH", "#queue-depth"]
)
def test_the_part_for_an_alert_is_printed_under_any_of_its_names(run: Run, name: str) -> None:
    code, out, _ = run("beanwatch", "runbook", name)
    assert code == 0
    assert out.startswith("## queue-depth\n")
    assert out.count("\n## ") == 0


@pytest.mark.parametrize(
    ("service", "heading"),
    [
        *((check.service, check.heading) for check in CHECKS),
        ("depth of email.regular", "queue-depth"),
        ("Consumers of all queues", "queue-consumers"),
    ],
)
def test_the_name_of_a_service_in_nagios_is_enough(run: Run, service: str, heading: str) -> None:
    code, out, _ = run("beanwatch", "runbook", service)
    assert code == 0
    assert out.startswith(f"## {heading}\n")


def test_without_a_name_all_of_it_is_printed(run: Run) -> None:
    code, out, _ = run("beanwatch", "runbook")
    assert code == 0
    assert out.startswith("# Runbook\n")
    assert "\n## worker-heartbeat\n" in out


def test_a_near_miss_is_named(run: Run) -> None:
    code, out, err = run("beanwatch", "runbook", "queue-dept")
    assert (code, out) == (2, "")
    assert "did you mean queue-depth?" in err
