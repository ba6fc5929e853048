"""Ranges, performance data and output, for every value that may come."""

import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.checks.lib.output import MAX_OUTPUT, PluginResult, perf
from beanwatch.checks.lib.plugin import (
    Check,
    Critical,
    Finding,
    Metric,
    Ok,
    Results,
    Unknown,
    Warn,
    is_outside,
    judge,
)
from beanwatch.checks.lib.plugin_process import Parser, join_ranges
from beanwatch.config import Threshold
from beanwatch.values import _breaks, hides_warning, threshold
from tests.checks.conftest import parse_output, parse_perfdata

numbers = st.integers(-10_000, 10_000) | st.decimals(-1000, 1000, places=2).map(float)
values = numbers | st.floats(allow_nan=False)
QUEUE_CHARACTERS = string.ascii_letters + string.digits + "-+/;.$_()"
queue_names = st.text(QUEUE_CHARACTERS, min_size=1, max_size=200)


def spell(number: float) -> str:
    return f"{number:.2f}" if isinstance(number, float) else str(number)


@given(values, numbers)
def test_a_plain_number_alerts_below_zero_and_above_it(value: float, end: float):
    end = abs(end)
    assert is_outside(value, threshold(spell(end))) == (value < 0 or value > end)


@given(values, numbers, numbers)
def test_a_range_alerts_outside_and_its_ends_are_inside(value: float, one: float, two: float):
    start, end = min(one, two), max(one, two)
    assert is_outside(value, threshold(f"{spell(start)}:{spell(end)}")) == (
        value < start or value > end
    )


@given(values, numbers, numbers)
def test_an_at_sign_alerts_inside_and_the_ends_are_inside(value: float, one: float, two: float):
    start, end = min(one, two), max(one, two)
    assert is_outside(value, threshold(f"@{spell(start)}:{spell(end)}")) == (start <= value <= end)


@given(values, numbers)
def test_without_an_end_it_is_infinity(value: float, start: float):
    assert is_outside(value, threshold(f"{spell(start)}:")) == (value < start)


@given(values, numbers)
def test_a_tilde_is_minus_infinity(value: float, end: float):
    assert is_outside(value, threshold(f"~:{spell(end)}")) == (value > end)


@given(values)
def test_without_a_range_nothing_alerts(value: float):
    assert judge(value, Threshold()) == (Ok, "")


def test_zero_is_a_threshold_and_not_none():
    assert is_outside(1, threshold(0))
    assert is_outside(1, threshold("0"))


def test_what_is_not_a_number_is_never_well():
    assert judge(math.nan, Threshold("10", "20"))[0] is Unknown


@pytest.mark.parametrize(
    "text",
    ["5:1", "1:2:3", "x", "1e3", "inf", "nan", "~", "1_000", "٣", ".", "1.2.3", "@", ":", "--1"],
)
def test_what_is_no_range_is_refused(text: str):
    with pytest.raises(ValueError, match="expected a range"):
        threshold(text)


@given(st.text())
def test_whatever_is_accepted_as_a_range_can_be_judged(text: str):
    try:
        spec = threshold(text)
    except ValueError:
        return
    assert is_outside(5, spec) in (True, False)


@given(queue_names, st.integers() | st.floats(), st.sampled_from(["", "s", "c", "%"]))
def test_performance_data_is_grammatical_for_every_queue_name(name: str, value: float, uom: str):
    parsed = parse_perfdata(perf(name, value, uom, Threshold("10", "@~:20.5")))
    (label,) = parsed
    assert label == name


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_is_not_known_is_u_without_a_unit(value: float | None):
    assert perf("x", value, "s", Threshold("10")) == "'x'=U;10;;0"


@given(st.text(min_size=1), st.integers())
def test_and_for_any_other_text(name: str, value: int):
    parse_perfdata(perf(name, value))


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9))
def test_numbers_have_no_exponent_and_keep_three_places(value: float):
    text = perf("x", value).partition("=")[2].partition(";")[0]
    assert "e" not in text
    assert abs(float(text) - value) <= 0.0005


findings = st.lists(
    st.tuples(st.sampled_from([Ok, Warn, Critical, Unknown]), st.text(max_size=300)), max_size=30
)


@given(findings, st.lists(st.tuples(queue_names, st.integers()), max_size=60))
def test_the_output_is_short_clean_and_says_its_state(found, perfs):
    results = Results()
    for state, text in found:
        results.add(Finding(state, text, Metric("x", 1)))
    state = results.most_significant_state
    text = "; ".join(map(str, results)) or "nothing"
    details = tuple(map(str, results))
    perfdata = tuple(perf(name, value) for name, value in perfs)
    result = PluginResult("queue_depth", state.text, state.code, f"x {text}", perfdata, details)
    output = result.render()
    assert len(output.encode()) <= MAX_OUTPUT
    parse_output(state.code, output, "")


@given(findings)
def test_critical_outranks_unknown_outranks_warning(found):
    results = Results()
    for state, text in found:
        results.add(Finding(state, text))
    states = [state for state, _ in found]
    order = [Critical, Unknown, Warn, Ok]
    expected = min(states, key=order.index) if states else Unknown
    assert results.most_significant_state is expected
    ranks = [order.index(result.state) for result in results]
    assert ranks == sorted(ranks)


def test_a_check_that_found_nothing_out_is_unknown():
    assert Check("x").results.most_significant_state is Unknown


@given(numbers, numbers, st.sampled_from(["-w", "--warning", "-c", "--critical"]))
def test_a_range_may_start_with_a_minus(one: float, two: float, flag: str):
    text = f"{spell(min(one, two))}:{spell(max(one, two))}"
    parser = Parser("some_check", "", "")
    parser.add_limits()
    options = parser.parse_args(join_ranges([flag, text, "-t", "7"]))
    assert text in (options.warning, options.critical)
    assert options.timeout == (7.0, None)


limits = (
    st.tuples(st.sampled_from(["", "@"]), st.integers(0, 6), st.integers(0, 6)).map(
        lambda r: f"{r[0]}{min(r[1:])}:{max(r[1:])}"
    )
    | st.integers(0, 6).map(str)
    | st.integers(0, 6).map("~:{}".format)
    | st.integers(0, 6).map("{}:".format)
    | st.just("")
)


@given(limits, limits)
def test_a_warning_that_critical_always_hides_is_found(warning: str, critical: str):
    values = [n / 4 for n in range(40)]  # the limits are whole numbers up to 6
    warns = {v for v in values if is_outside(v, warning)}
    criticals = {v for v in values if is_outside(v, critical)}
    assert hides_warning(warning, critical) == (bool(warns) and warns < criticals)


@given(values, limits)
def test_values_reads_a_range_as_nagiosplugin_does(value: float, limit: str):
    assert not limit or _breaks(value, limit) == is_outside(value, limit)
