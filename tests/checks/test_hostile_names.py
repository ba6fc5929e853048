"""Names that a false server or the configuration says reach no shell, and no other queue."""

import os
from pathlib import Path

import pytest

from beanwatch.checks.lib.nagios_files import nagios_services
from beanwatch.checks.lib.services import plan_services
from beanwatch.config.reader import parse
from beanwatch.queues.servers import resolve_servers
from beanwatch.quoting import nrpe_name
from tests.checks.site import Site
from tests.checks.test_icinga2 import MailingIcinga as Icinga
from tests.checks.test_remote import Nrpe, can_be_somebody_else
from tests.queues.liar import Liar
from tests.real import Beanstalkd, LineSink, Redis, wait_until

CODE = "a'; touch PWNED; echo '"
NAMES = [CODE, "$(touch PWNED)", "-x", "a b", "\x1b[2J", '"\n}\nobject', "x" * 201, "pay$usd;v2"]


@pytest.fixture
def site(
    tmp_path: Path, beanstalkd: Beanstalkd, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> Site:
    monkeypatch.setenv("BEANWATCH_STATE_DIR", str(tmp_path / "state"))
    return Site(tmp_path, beanstalkd, redis_server)


def list_names(liar: Liar) -> None:
    """Let it list all of NAMES."""
    liar.lie(b"list-tubes", b"---\n" + b"".join(b"- %b\n" % name.encode() for name in NAMES))


@pytest.mark.parametrize("kind", ["nagios", "nrpe", "icinga2"])
def test_names_that_no_queue_can_have_are_not_installed(run, tmp_path: Path, kind: str):
    with Liar() as liar:
        list_names(liar)
        argv = ("--dest", tmp_path / "root", "--discover", "--server", liar.address)
        code, _, stderr = run("beanwatch", "install", kind, *argv)
    assert code == 0
    listed = f"{liar.address}: it lists a queue with the invalid name"
    assert stderr.startswith(f'beanwatch: {listed} "{CODE}"\n')
    assert stderr.count("PWNED") == 1
    files = [path for path in (tmp_path / "root/etc").rglob("*") if path.is_file()]
    text = "".join(path.read_text() for path in files)
    assert "PWNED" not in text
    assert "usd" in text


def test_names_that_no_queue_can_have_are_shown_and_reported_nowhere(run, tmp_path: Path):
    with Liar() as liar, LineSink() as carbon:
        list_names(liar)
        known = ("--server", liar.address)
        for argv in (
            ("queues", "list", *known, "--json"),
            ("passive", "--once", "--discover", *known),
            ("collect", "--once", "--graphite", carbon.address, *known),
            ("top", "--once", *known),
        ):
            env = {"BEANWATCH_STATE_DIR": str(tmp_path / "state")}
            code, stdout, _ = run("beanwatch", *argv, env=env)
            assert code in (0, 1)
            said = stdout.replace(f'invalid name "{CODE}"', "")
            assert "PWNED" not in said, argv
            assert "\x1b" not in stdout, argv
        lines = carbon.lines
        assert lines
        assert not any("PWNED" in line for line in lines)


def test_names_that_a_state_file_remembers_are_checked_again():
    servers = resolve_servers({"q": "127.0.0.1"})
    services = plan_services(parse(""), servers, {"q": ["good", "\x1b[2J", "x" * 256]})
    assert {service.queue for service in services} == {"", "good", "*"}


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("nagios", '[servers]\n"a\'b" = "127.0.0.1"\n'),
        ("nagios", '[servers]\n"a$b" = "127.0.0.1"\n'),
        ("nagios", '[servers]\n"a\\nb" = "127.0.0.1"\n'),
        ("nrpe", '[servers]\n"a\\nb" = "127.0.0.1"\n'),
    ],
)
def test_a_name_of_a_server_that_cannot_be_written_is_refused_with_the_reason(
    run, tmp_path: Path, kind: str, lines: str
):
    (tmp_path / "b.toml").write_text(lines)
    argv = ("--dest", tmp_path / "root", "--config", "b.toml")
    code, _, stderr = run("beanwatch", "install", kind, *argv)
    assert code == 2
    assert stderr.startswith("beanwatch: N")
    assert len(stderr.splitlines()) == 1
    assert not (tmp_path / "root").exists()


def test_a_glob_that_no_queue_can_match_is_an_error_of_the_configuration(run, tmp_path: Path):
    (tmp_path / "b.toml").write_text('[queues."a\\nb".depth]\nwarning = 5\n')
    code, _, stderr = run("beanwatch", "config", "check", "--config", "b.toml")
    assert code == 2
    assert stderr == (
        'b.toml: queues."a\\nb": no check accepts this name: it has a character that is not '
        "printable, or more than 255 bytes\n"
    )


def test_an_event_handler_is_never_given_another_queue():
    config = parse('[queues."pay$usd".depth]\nwarning = 1\n')
    services = plan_services(config, resolve_servers({"q": "127.0.0.1"}))
    text = "".join(nagios_services(services, config))
    # Nagios removes `$` from this variable: `payusd` would be another queue. No glob is kicked.
    assert "_QUEUE               pay?usd\n" in text


def strange_site(site: Site) -> str:
    """Move the configuration to a path with a blank, and put a job into a queue with a `$`."""
    folder = site.directory / "my etc (1)"
    folder.mkdir()
    site.config = site.config.rename(folder / "bean watch;1.toml")
    with site.beanstalkd.client(use="pay$usd") as client:
        client.put("x")
    os.environ.pop("BEANWATCH_CONFIG", None)
    return "QUEUE_DEPTH OK - pay$usd: 1 job ready | 'pay$usd'=1;;;0\n"


@pytest.mark.skipif(not can_be_somebody_else(), reason="this machine allows no user namespaces")
def test_nrpe_checks_the_queue_with_a_dollar_and_not_another(site: Site, tmp_path: Path):
    expected = strange_site(site)
    site.install("nrpe", "--discover")
    with Nrpe(tmp_path / "nrpe", site) as nrpe:
        name = nrpe_name("beanwatch_queue1_depth_of_pay$usd", hashed="pay$usd")
        assert nrpe.run("-c", name).stdout == expected


def test_nagios_finds_a_configuration_with_blanks_in_its_path(site: Site):
    strange_site(site)
    site.install("nagios", "--discover")
    with site.nagios("--file /dev/null") as nagios:
        nagios.verify()

        def output() -> str:
            status = nagios.statuses().get(("queue1", "depth of pay_usd"), {})
            return status.get("plugin_output", "")

        wait_until(lambda: "pay$usd: 1 job ready" in output(), timeout=60)


def test_icinga_checks_the_queue_with_a_dollar_and_not_another(site: Site, tmp_path: Path):
    strange_site(site)
    site.bury("pay$usd")
    site.install("icinga2", "--discover")
    with_macro = (site.root / "etc/icinga2/conf.d/beanwatch/hosts.conf").read_text()
    assert '"pay_usd" = "pay$$usd"' in with_macro
    with Icinga(tmp_path / "icinga2", site) as icinga:
        wait_until(lambda: "pay$usd: 1 job buried" in icinga.alerts, timeout=90)
