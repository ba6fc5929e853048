"""The name of this host in ids of workers and in metric paths."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.queues.servers import resolve_servers, short_host
from beanwatch.worker.core.settings import WORKER_NAME


@pytest.mark.parametrize(
    ("hostname", "host"),
    [
        ("web1", "web1"),
        ("web1.example.org", "web1"),
        ("10.20.30.41", "10_20_30_41"),
        ("1.web.example.org", "1_web_example_org"),
        ("2001:db8::7", "2001_db8__7"),
        ("ip-10-20-30-41.example.org", "ip-10-20-30-41"),
        ("1f3a", "1f3a"),
    ],
)
def test_a_host_is_its_first_label_unless_that_is_no_name(hostname: str, host: str) -> None:
    assert short_host(lambda: hostname) == host
    (server,) = resolve_servers({}, here=short_host(lambda: hostname))
    assert server.node == host


@given(st.ip_addresses(), st.ip_addresses())
def test_no_two_ip_addresses_are_one_host(one: object, other: object) -> None:
    assert (short_host(lambda: str(one)) == short_host(lambda: str(other))) == (one == other)


@given(st.text(min_size=1, max_size=64))
def test_a_worker_may_run_on_a_host_of_any_name(hostname: str) -> None:
    assert WORKER_NAME.fullmatch(short_host(lambda: hostname))
    assert re.fullmatch(r"[A-Za-z0-9_-]+", short_host(lambda: hostname))
