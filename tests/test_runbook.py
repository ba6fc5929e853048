"""The runbook at the command line: the part for an alert, under every name it goes by."""

from collections.abc import Callable

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("name", ["tube-depth", "check_tube_depth", "TUBE_DEPTH", "#tube-depth"])
def test_the_part_for_an_alert_is_printed_under_any_of_its_names(run: Run, name: str) -> None:
    code, out, _ = run("beanwatch", "runbook", name)
    assert code == 0
    assert out.startswith("## tube-depth\n")
    assert out.count("\n## ") == 0


def test_without_a_name_all_of_it_is_printed(run: Run) -> None:
    code, out, _ = run("beanwatch", "runbook")
    assert code == 0
    assert out.startswith("# Runbook\n")
    assert "\n## worker-heartbeat\n" in out


def test_a_near_miss_is_named(run: Run) -> None:
    code, out, err = run("beanwatch", "runbook", "tube-dept")
    assert (code, out) == (2, "")
    assert "did you mean tube-depth?" in err
