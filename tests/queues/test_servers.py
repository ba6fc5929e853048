"""The settings of queue servers: URLs, layouts, passwords, and which settings a system uses."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.checks.lib.services import plan_services
from beanwatch.config import Config, ConfigError
from beanwatch.config.reader import parse
from beanwatch.net.address import AddressError
from beanwatch.queues import registry
from beanwatch.queues.base import ServerError
from beanwatch.queues.servers import find_clash, parse_server, resolve_servers
from tests.queues import fake_system

SECRET = "s3cret%2F"  # in a URL; it means `s3cret/`


@pytest.fixture(autouse=True)
def systems(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`fake`, a system without layouts, and `shelf`, whose servers hold two kinds of queues."""
    monkeypatch.setitem(registry.MODULES, "fake", "tests.queues.fake_system")
    monkeypatch.setitem(registry.MODULES, "shelf", "tests")
    monkeypatch.setitem(registry.LAYOUTS, "shelf", ("queues.fake_system", "fleet.other_system"))
    yield
    registry.find_system.cache_clear()


def config(text: str) -> Config:
    return parse(text, "beanwatch.toml")


def test_a_table_gives_a_server_its_settings() -> None:
    jobs = '[servers.jobs]\nurl = "shelf://h"\nlayout = "queues.fake_system"\n'
    text = f'[servers]\nq1 = "host:11301"\n{jobs}'
    first, second = resolve_servers(config(text).servers)
    assert (first.node, str(first), first.system.name) == ("q1", "host:11301", "beanstalkd")
    assert (second.node, str(second), second.system.name) == ("jobs", "shelf://h", "fake")
    assert second.address.port == fake_system.SYSTEM.default_port


def test_a_server_may_tell_less_than_its_system() -> None:
    text = '[servers]\nall = "q1"\n[servers.some]\nurl = "q2"\nunknown = ["consumers"]\n'
    every, some = resolve_servers(config(text).servers)
    assert (every.can_tell("consumers"), every.why_unknown("consumers")) == (True, "")
    assert (some.can_tell("consumers"), some.can_tell("ready")) == (False, True)
    assert some.why_unknown("consumers") == "the setting unknown of this server lists it"
    services = plan_services(config(text), [every, some])
    assert [s.host for s in services if s.check == "queue_consumers"] == ["all"]
    with pytest.raises(AddressError, match=r"servers.some: unknown: beanstalkd has no field 'x'"):
        resolve_servers(config(text.replace('"consumers"', '"x"')).servers)


@pytest.mark.parametrize(
    ("table", "error"),
    [
        ('layout = "x"', "beanwatch.toml:1: servers.q: the key url is missing"),
        ('url = "q1"\nlayuot = "x"', "beanwatch.toml:3: servers.q: unknown key 'layuot'; did you"),
        ('url = "q1"\nqueues = 7', "beanwatch.toml:3: servers.q.queues: "),
        ("url = 7", "beanwatch.toml:2: servers.q.url: "),
    ],
)
def test_a_mistake_in_a_table_is_one_line_that_names_it(table: str, error: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config(f"[servers.q]\n{table}\n")
    assert str(raised.value).startswith(error)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("table", "error"),
    [
        (
            'url = "shelf://h"',
            "it needs a table [servers.NAME] in the configuration, with url and ",
        ),
        ('url = "shelf://h"\nlayout = "x"', "unknown layout 'x': expected layout = one of queues."),
        ('url = "fake://h"\nlayout = "x"', "layout 'x' has no meaning for this scheme: remove it"),
        ('url = "fake://h"\nprefix = "x"', "prefix has no meaning for fake: remove it"),
        ('url = "h"\npassword_file = "/x"', "password_file has no meaning for beanstalkd"),
        ('url = "gopher://h"', "server 'gopher://h': the scheme must be one of beanstalkd"),
    ],
)
def test_a_setting_that_the_system_does_not_use_is_an_error(table: str, error: str) -> None:
    servers = config(f"[servers.q]\n{table}\n").servers
    with pytest.raises(AddressError) as raised:
        resolve_servers(servers)
    assert str(raised.value).startswith("servers.q: ")
    assert error in str(raised.value)


def test_two_layouts_on_one_server_are_two_servers() -> None:
    table = '[servers.{}]\nurl = "shelf://h"\nlayout = "{}"\n'
    layouts = ("queues.fake_system", "fleet.other_system")
    a, b = resolve_servers(
        config(table.format("a", layouts[0]) + table.format("b", layouts[1])).servers
    )
    assert (a.node, a.system.name, b.node, b.system.name) == ("a", "fake", "b", "other")
    assert not find_clash([a, b])
    same = config(table.format("a", layouts[0]) + table.format("b", layouts[0])).servers
    assert [server.node for server in resolve_servers(same)] == ["a"], "one server, given twice"


def test_a_server_given_by_its_address_has_its_name_and_settings() -> None:
    servers = config('[servers.q]\nurl = "fake://h/x"\n').servers
    (server,) = resolve_servers(servers, ["fake://h/x"])
    assert (server.node, server.config) == ("q", servers["q"])


@pytest.mark.parametrize("password", ["Xy7k/9secret", "12/abcdef"])
def test_a_password_with_a_slash_is_refused_and_not_shown(password: str) -> None:
    for words in ([], [f"rabbitmq://monitor:{password}@mq/shop"]):
        table = f'[servers.q]\nurl = "rabbitmq://monitor:{password}@mq/shop"\n'
        with pytest.raises(AddressError) as caught:
            resolve_servers(config(table).servers, words)
        assert "write a / in the password as %2F" in str(caught.value)
        assert password.partition("/")[2] not in str(caught.value)


def test_the_password_comes_from_the_file_the_environment_or_the_url(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("from the file\nsecond line\n")
    (server,) = resolve_servers(config(f'[servers.my-q]\nurl = "fake://u:{SECRET}@h"\n').servers)
    variable = {"BEANWATCH_SERVER_MY_Q_PASSWORD": "from the environment"}
    assert server.read_password({}) == "s3cret/"
    assert server.read_password(variable) == "from the environment"
    with_file = server._replace(config=server.config._replace(password_file=str(path)))
    assert with_file.read_password(variable) == "from the file"
    without = server._replace(config=server.config._replace(password_file=str(path) + "x"))
    with pytest.raises(ServerError, match=r"servers\.my-q\.password_file: cannot read .*: No such"):
        without.read_password({})


def test_a_password_is_refused_in_an_argument_and_is_in_no_text() -> None:
    with pytest.raises(AddressError, match="put the server into the configuration") as raised:
        resolve_servers({}, [f"fake://u:{SECRET}@h"])
    assert "s3cret" not in str(raised.value)
    (server,) = resolve_servers({"q": f"fake://u:{SECRET}@h/x"})
    assert (str(server), server.url.user) == ("fake://h/x", "u")


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_no_error_text_has_the_password(scheme: str, host: str, path: str) -> None:
    for text in (f"{scheme}://user:{SECRET}@{host}/{path}", f"fake://u:{SECRET}@{host}/{path}"):
        try:
            resolve_servers({"q": text})
        except AddressError as error:
            assert "s3cret" not in str(error)


def test_a_url_with_several_addresses_has_the_first_as_its_address() -> None:
    url = parse_server("fake://user@a:1,b:2/service/3")
    assert (url.address, url.path, url.user) == (("a", 1, ""), "service/3", "user")
    assert str(url) == "fake://a:1,b:2/service/3"
