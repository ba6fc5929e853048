"""`install --discover --reload`: the services follow the queues, and no invalid file stays."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from beanwatch.cli.lib.discovered import Discovered
from beanwatch.cli.lib.reload import Backup, run_command
from beanwatch.net.files import locked
from beanwatch.store.outcome_counts import JobKind
from tests.checks.site import BIN, Site
from tests.checks.test_job_failures import count
from tests.real import Beanstalkd, Nagios, Redis, wait_until

Install = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def site(
    tmp_path: Path, beanstalkd: Beanstalkd, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> Site:
    monkeypatch.setenv("BEANWATCH_STATE_DIR", str(tmp_path / "state"))
    return Site(tmp_path, beanstalkd, redis_server)


@pytest.fixture
def install(site: Site) -> Install:
    """`install(*flags)` runs `beanwatch install nagios --discover` and may fail."""

    def run(*flags: object) -> "subprocess.CompletedProcess[str]":
        argv = ["install", "nagios", "--discover", "--family", "debian", "--dest", site.root]
        return subprocess.run(
            [BIN / "beanwatch", *argv, *map(str, flags), "--config", site.config],
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def put(site: Site, queue: str) -> None:
    with site.beanstalkd.client(use=queue) as client:
        client.put("x")


def objects(site: Site) -> str:
    return (site.root / "etc/nagios4/conf.d/beanwatch-services.cfg").read_text()


def leftovers(site: Site) -> list[str]:
    """The files of an installation that is not finished."""
    return [path.name for path in site.root.rglob("*") if "backup" in path.name]


def test_nagios_gets_the_services_of_queues_and_jobs_as_they_come(site: Site, install: Install):
    assert install().returncode == 0
    (site.plugins / "check_dummy").symlink_to("/usr/lib/nagios/plugins/check_dummy")
    # A check every 0.34 minutes would be one every 0 s if a minute was a second.
    with site.nagios("--file /dev/null", "interval_length=3\n") as nagios:
        assert ("queue1", "age of email.regular") not in nagios.statuses()
        put(site, "email.regular")
        count(site.redis, "images", "resize", ok=1)
        flags = ("--validate", f"nagios4 -v {nagios.config}", "--reload", f"kill -HUP {nagios.pid}")
        done = install(*flags)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith(
            f"the files are valid (nagios4 -v {nagios.config}); reloaded (kill -HUP {nagios.pid})\n"
        )
        new = {("queue1", "age of email.regular"), ("queue1", "failures of images resize")}
        wait_until(lambda: new <= set(nagios.statuses()), timeout=60)
        wait_until(
            lambda: (
                "1 job ready"
                in nagios.statuses()["queue1", "depth of email.regular"]["plugin_output"]
            ),
            timeout=60,
        )
        done = install("--validate", "false", "--reload", "false")
        assert (done.returncode, done.stdout) == (0, "nothing changed, so nothing was reloaded\n")
    assert leftovers(site) == []


def test_files_that_are_not_valid_are_replaced_by_the_old_ones(site: Site, install: Install):
    assert install().returncode == 0
    before = {path: path.read_bytes() for path in site.root.rglob("*") if path.is_file()}
    nagios = Nagios(site.directory / "nagios", [site.root / "etc/nagios4/conf.d"])
    broken = site.directory / "theirs.cfg"
    broken.write_text("define host {\n    host_name x\n    use no-such-template\n}\n")
    nagios.config.write_text(nagios.config.read_text() + f"cfg_file={broken}\n")
    put(site, "email.regular")
    reloaded = site.directory / "reloaded"
    test = f"nagios4 -v {nagios.config}"
    done = install("--validate", test, "--reload", f"touch {reloaded}")
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"beanwatch: the new files are not valid, so the old ones are back: `{test}` failed with "
        "exit code 1 Error: "
    )
    assert {path: path.read_bytes() for path in before} == before
    assert leftovers(site) == []
    assert not reloaded.exists()
    broken.unlink()
    broken.touch()
    assert install("--validate", test, "--reload", f"touch {reloaded}").returncode == 0
    assert reloaded.exists()
    assert "age of email.regular" in objects(site)


def test_a_reload_that_failed_is_tried_again(site: Site, install: Install):
    flags = ("--validate", "true", "--reload")
    done = install(*flags, "false")
    assert done.returncode == 1
    assert "the new files are valid, but are not in use yet: `false` failed" in done.stderr
    assert install(*flags, "/no/such/program").stderr.endswith(
        "cannot run `/no/such/program`: No such file or directory\n"
    )
    assert install(*flags, "true").returncode == 0
    assert install(*flags, "false").returncode == 0


def own_queues(site: Site) -> object:
    """The queues that the catch-all services leave out."""
    return json.loads((site.root / "etc/beanwatch/services-nagios.json").read_text())["queues"]


def test_the_catch_all_services_judge_a_queue_until_its_own_services_are_in_use(
    site: Site, install: Install
):
    flags = ("--validate", "true", "--reload")
    assert install(*flags, "true").returncode == 0
    put(site, "email.regular")
    assert install(*flags, "false").returncode == 1
    assert "age of email.regular" in objects(site)
    assert own_queues(site) == {"queue1": ["default", "images"]}, "Nagios has the old files"
    done = install(*flags, "true")
    assert done.returncode == 0
    assert own_queues(site) == {"queue1": ["default", "email.regular", "images"]}
    services = site.root / "etc/nagios4/conf.d/beanwatch-services.cfg"
    services.write_text(services.read_text() + "# ours\n")
    put(site, "late")
    done = install(*flags, "true")
    assert done.returncode == 0
    assert (
        "services-nagios.json (because beanwatch-services.cfg was not updated; the new"
        in done.stdout
    )
    assert own_queues(site) == {"queue1": ["default", "email.regular", "images"]}


def test_a_run_that_was_killed_in_between_is_completed_by_the_next_one(
    site: Site, install: Install
):
    assert install().returncode == 0
    before = objects(site)
    put(site, "email.regular")
    done = install("--validate", f"kill -KILL {os.getpid()}x", "--reload", "true")
    assert objects(site) == before, done.stderr
    script = site.directory / "kill"
    script.write_text("#!/bin/sh\nkill -KILL $PPID\n")
    script.chmod(0o755)
    assert install("--validate", script, "--reload", "true").returncode == -9
    assert objects(site) != before
    assert install("--validate", "false", "--reload", "true").returncode == 1
    assert objects(site) == before
    assert leftovers(site) == []


def test_what_somebody_changed_in_between_is_never_overwritten(tmp_path: Path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for path in (ours, theirs):
        path.write_text("old")
    first = Backup(tmp_path / "backup.json")
    first.save([ours, theirs], [])
    for path in (ours, theirs):
        path.write_text("new")
    second = Backup(tmp_path / "backup.json")
    assert second.is_pending
    second.save([], [theirs])
    second.restore()
    assert (ours.read_text(), theirs.read_text()) == ("old", "new")
    assert not second.is_pending


def test_a_second_run_beside_the_first_does_nothing(site: Site, install: Install):
    state = site.root / "var/lib/beanwatch"
    state.mkdir(parents=True)
    with locked(str(state / "install.lock")):
        done = install("--validate", "true", "--reload", "true")
    assert (done.returncode, done.stderr) == (
        1,
        "beanwatch: another `beanwatch install` is running\n",
    )


def test_a_server_that_does_not_answer_takes_no_service_away(site: Site, install: Install):
    put(site, "email.regular")
    assert install().returncode == 0
    before = objects(site)
    site.beanstalkd.kill()
    done = install("--validate", "true", "--reload", "true")
    assert done.returncode == 1
    assert "--discover: cannot list the queues of" in done.stderr
    assert objects(site) == before


def test_a_queue_that_was_emptied_keeps_its_services_for_a_while(site: Site, install: Install):
    put(site, "email.regular")
    assert install().returncode == 0
    with site.beanstalkd.client(watch="email.regular") as client:
        client.delete(client.reserve(timeout=5))
    assert install().returncode == 0
    assert "age of email.regular" in objects(site)
    assert install("--forget", "0s").returncode == 0
    assert "age of email.regular" not in objects(site)


def test_what_was_not_found_for_long_is_forgotten(tmp_path: Path):
    path, now = tmp_path / "discovered.json", 1_000_000.0

    def find(at: float, *names: str) -> tuple[list[str], list[JobKind]]:
        seen = Discovered(path, 100.0, clock=lambda: at)
        result = seen.queues({"q1": names}), seen.kinds([JobKind("q", f"a|{n}") for n in names])
        seen.save()
        return result[0]["q1"], result[1]

    assert find(now, "a", "b") == (["a", "b"], [JobKind("q", "a|a"), JobKind("q", "a|b")])
    assert find(now + 90, "b", "c")[0] == ["a", "b", "c"]
    assert find(now + 150, "c")[0] == ["b", "c"]
    for damaged in ("", "[]", '{"queues of q1": {"a": "x"}}', '{"queues of q1": 5}', "\x00"):
        path.write_text(damaged)
        path.chmod(0o600)
        assert find(now, "a")[0] == ["a"]
    assert json.loads(path.read_text())["queues of q1"] == {"a": now}


def test_a_part_that_has_answered_is_remembered_as_long_as_a_queue(tmp_path: Path):
    def parts(at: float, *answered: str) -> list[str]:
        seen = Discovered(tmp_path / "discovered.json", 100.0, clock=lambda: at)
        found = seen.parts(answered)
        seen.save()
        return found

    assert parts(1000.0, "redis.url") == ["redis.url"]
    assert parts(1090.0) == ["redis.url"], "it is down"
    assert parts(1101.0) == []


def test_other_kinds_cannot_be_reloaded(run):
    code, _, stderr = run("beanwatch", "install", "cron", "--reload", "true")
    assert code == 2
    assert "--reload is for nagios and icinga2 only, not for cron" in stderr


def test_a_command_that_hangs_is_ended():
    assert run_command("sleep 60", timeout=0.1) == "`sleep 60` did not end within 0.1 s"
    assert run_command("'").startswith("cannot run `'`: ")
    assert run_command("").startswith("cannot run ``")
