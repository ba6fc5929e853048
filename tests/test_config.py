"""The configuration: what is right is read, what is wrong is named with its line."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch import values
from beanwatch.cli.config import to_toml, to_tree
from beanwatch.config import Config, ConfigError, ServerConfig, Threshold, WorkerGroup
from beanwatch.config.keys import TABLES
from beanwatch.config.mistakes import find_line
from beanwatch.config.reader import load, parse

FULL = """\
prefix = "acme"
log_format = "console"

[servers]
q1 = "10.0.0.1:11300"
q2 = "unix:/run/beanstalkd.sock"

[collect]
interval = "5s"
include = [
    "email.*",
    "images",
]
max_queues = 500

[worker]
job_timeout = "2m"
max_memory = "512M"

[workers]
expected = ["web1.email-1", { glob = "k8s.*", least = 3 }]

[queues."email.*".depth]
warning = 1000
critical = "5000"
for = "5m"

[queues.images.age]
critical = "@1:2"

[checks.job_failures]
warning = 5
"""


def test_a_full_file_is_read_as_written() -> None:
    read = parse(FULL, "f.toml")
    assert read.prefix == "acme"
    assert read.servers == {
        "q1": ServerConfig("10.0.0.1:11300"),
        "q2": ServerConfig("unix:/run/beanstalkd.sock"),
    }
    assert read.collect.interval == 5.0
    assert read.collect.include == ("email.*", "images")
    assert read.worker.job_timeout == 120.0
    assert read.worker.max_memory == 512 * 1024 * 1024
    assert read.expected_workers == ("web1.email-1",)
    assert read.expected_groups == (WorkerGroup("k8s.*", 3),)
    assert read.threshold("depth", "email.bulk", "q") == Threshold("1000", "5000", 300.0)
    assert read.threshold("depth", "images", "q") is None
    assert [rule.name for rule in read.queues] == [None, "images"]
    assert read.checks["job_failures"].warning == "5"


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("[collect]\nintervall = 3\n", "f.toml:2: collect: unknown key 'intervall'; did you mean"),
        ("\n[colect]\ninterval = 3\n", "f.toml:2: unknown key 'colect'; did you mean 'collect'?"),
        ('[collect]\ninclude = [\n "a",\n]\nmax_queues = "x"\n', "f.toml:5: collect.max_queues: "),
        ('[worker]\njob_timeout = "1 fortnight"', "f.toml:2: worker.job_timeout: expected a dur"),
        ('[worker]\nledger = "some"', "expected one of all, failures, off, not 'some'"),
        (
            '[queues."a*".depth]\nwarning = "1:2:3"',
            "f.toml:2: queues.a*.depth.warning: expected a r",
        ),
        ("[queues.a]\ndepht = {warning = 3}", "f.toml:2: queues.a: unknown key 'depht'; did you"),
        (
            "[workers]\nexpected = [{ glob = 'k8s.*' }]",
            "f.toml:2: workers.expected: expected a list",
        ),
        ("[workers]\nexpected = [{ glob = 'k8s.*', least = 0 }]", "least is a whole number, 1 or"),
        ('[workers]\nexpected = [{ glob = "a\'b", least = 1 }]', "a glob has letters, digits and"),
        ('[workers]\nexpected = ["k8s.*"]', "an id has letters, digits and . _ -"),
        ("servers = 3", "f.toml:1: servers: expected a TOML table of names"),
        ('prefix = "a b"', "f.toml:1: prefix: expected letters, digits, _ and -"),
        ('prefix = "a..b"', "f.toml:1: prefix: expected letters, digits, _ and -"),
        ("prefix = 3", "f.toml:1: prefix: expected text in quotes, not 3"),
        ("a = ", "f.toml:1: not valid TOML"),
        ('x = "\n', "f.toml:1: not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(source: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(source, "f.toml")
    assert error in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_environment_wins_over_the_file() -> None:
    environ = {
        "BEANWATCH_PREFIX": "env",
        "BEANWATCH_COLLECT_INTERVAL": "30s",
        "BEANWATCH_COLLECT_INCLUDE": "a, b*",
        "BEANWATCH_SERVERS": "q9=10.0.0.9, 10.0.0.8:11301",
    }
    read = parse(FULL, "f.toml", environ)
    assert read.prefix == "env"
    assert read.collect.interval == 30.0
    assert read.collect.include == ("a", "b*")
    assert read.servers["q9"].url == "10.0.0.9"
    assert read.servers["10.0.0.8:11301"].url == "10.0.0.8:11301"


def test_a_server_with_a_password_needs_a_name_because_names_are_shown() -> None:
    url = "rabbitmq://monitor:s3cret@mq/shop"
    named = parse("", "", {"BEANWATCH_SERVERS": f"mq={url}, q1"}).servers
    assert named == {"mq": ServerConfig(url), "q1": ServerConfig("q1")}
    for unnamed in (url, url.replace("s3cret", "s3cret=")):
        with pytest.raises(ConfigError, match=r"^environment variable \$BEANWATCH_S") as raised:
            parse("", "", {"BEANWATCH_SERVERS": unnamed})
        assert "s3cret" not in str(raised.value)


def test_a_bad_value_in_the_environment_names_its_variable() -> None:
    with pytest.raises(
        ConfigError, match=r"^environment variable \$BEANWATCH_WORKER_GRACE: expected a dur"
    ):
        parse("", "", {"BEANWATCH_WORKER_GRACE": "soon"})


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load(str(tmp_path / "no.toml"), {})


def test_a_file_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="it is not UTF-8 text"):
        load(str(path), {})


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_with_one_line(source: str) -> None:
    try:
        parse(source, "f.toml")
    except ConfigError as error:
        assert str(error).startswith("f.toml")
        assert "\n" not in str(error)


@given(st.floats(0, 1e4, allow_nan=False), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_durations_scale_with_their_unit(number: float, unit: str) -> None:
    scale = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
    assert values.duration(f"{number:f}{unit}") == pytest.approx(float(f"{number:f}") * scale)


@pytest.mark.parametrize("value", ["12000d", "9" * 400, 1e9, float("inf"), float("nan")])
def test_a_duration_is_one_that_can_be_waited_for(value: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        values.duration(value)


@given(st.one_of(st.text(), st.floats(), st.integers(), st.booleans(), st.none()))
def test_every_value_parser_returns_or_raises_value_error(value: object) -> None:
    for parser in (
        values.duration,
        values.size,
        values.whole_number,
        values.boolean,
        values.string_list,
        values.threshold,
        values.text,
        values.metric_prefix,
    ):
        try:
            parser(value)
        except ValueError as error:
            assert str(error).startswith("expected")


def test_every_section_names_the_fields_that_its_table_allows() -> None:
    sections = Config._field_defaults
    for name, spec in TABLES.items():
        if name != "workers":
            assert set(spec) == set(sections[name]._fields), name


def test_the_line_of_a_key_is_found_in_dotted_and_nested_tables() -> None:
    source = '[a."b.c"]\nd.e = 1\n[[f]]\ng = [\n1]\nh = 2\n'
    assert find_line(source, ("a", "b.c", "d", "e")) == 2
    assert find_line(source, ("f", "h")) == 6
    assert find_line(source, ("f", "nothing")) == 0


def test_what_show_prints_reads_back_as_the_same_configuration() -> None:
    read = parse(FULL, "f.toml")
    printed = "\n".join(to_toml(to_tree(read)))
    tomllib.loads(printed)
    # It shows the defaults, too, which are then given.
    assert parse(printed, "f.toml")._replace(given=read.given) == read


def test_config_check_says_that_there_are_no_errors_or_names_them(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    good = tmp_path / "good.toml"
    good.write_text(FULL)
    assert run("beanwatch", "config", "check", "--config", good)[:2] == (
        0,
        f"{good}: no errors found\n",
    )
    bad = tmp_path / "bad.toml"
    bad.write_text('[servers]\nq1 = "host:port"\n[redis]\nurl = "http://x"\n')
    code, out, err = run("beanwatch", "config", "check", "--config", bad)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 2
    assert "servers.q1" in err
    assert "redis.url" in err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '[worker]\nmetrics = "grphite://x"',
            "worker.metrics: metrics URL 'grphite://x': expected",
        ),
        ('[worker]\nserver = "nosuch:port"', "worker.server: invalid address 'nosuch:port'"),
        ('[graphite]\nurl = "graphite:8080"', "graphite.url: expected http://HOST"),
        ('[servers]\n"q.1" = "a:11300"\nq_1 = "b:11300"', "servers: "),
        ('[servers]\n"q.1" = "a:11300"\nq_1 = "b:11300"', "'q_1'"),
        ("[collect]\ninterval = 0", "collect.interval: must be at least 0.1 s"),
        ('[checks.job_failures]\nfor = "5m"', "unknown key 'for'; known keys: warning, critical"),
    ],
)
def test_config_check_sees_what_worker_and_collector_would_stop_at(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, text: str, words: str
) -> None:
    file = tmp_path / "b.toml"
    file.write_text(text)
    code, _, err = run("beanwatch", "config", "check", "--config", file)
    assert code == 2
    assert words in err


@pytest.mark.parametrize("table", ["checks.depth", "queues.images.depth", "checks.job_failures"])
def test_limits_that_never_warn_are_refused(table: str) -> None:
    with pytest.raises(ConfigError, match=rf"f:1: {table}: no value would be a WARNING"):
        parse(f"[{table}]\nwarning = 10\ncritical = 5", "f")
    assert parse(f"[{table}]\nwarning = 5\ncritical = 5", "f")


def test_a_variable_that_nothing_reads_is_named(
    run: Callable[..., tuple[int, str, str]],
) -> None:
    env = {"BEANWATCH_COLECT_INTERVAL": "5", "BEANWATCH_WORKER_GRACE": "5"}
    code, _, err = run("beanwatch", "config", "check", env=env)
    assert code == 2
    assert err == (
        "environment variable $BEANWATCH_COLECT_INTERVAL has no effect; "
        "did you mean 'BEANWATCH_COLLECT_INTERVAL'?\n"
    )


def test_config_show_hides_the_password(
    run: Callable[..., tuple[int, str, str]],
) -> None:
    env = {
        "BEANWATCH_REDIS_URL": "redis://user:hunter2@127.0.0.1/0",
        "BEANWATCH_WEB_HISTORY": "http://user:hunter2@127.0.0.1:9090",
    }
    code, out, _ = run("beanwatch", "config", "show", "--json", env=env)
    assert code == 0
    assert "hunter2" not in out
    assert "redis://127.0.0.1/0" in out


@pytest.mark.parametrize("value", ['["redis://:5ecret@h"]', '{ a = "5ecret" }'])
def test_a_list_or_a_table_in_place_of_a_text_is_not_quoted(value: str) -> None:
    with pytest.raises(ConfigError, match=r"expected text in quotes, not (list|dict)") as error:
        parse(f"[redis]\nurl = {value}\n", "b.toml")
    assert "5ecret" not in str(error.value)
