"""A file that others can change is named, and root does not use such a configuration."""

import os
from pathlib import Path

import pytest

from beanwatch.cli.doctor import probe_configuration
from beanwatch.cli.lib.config_problems import find_writer_problems
from beanwatch.config import ConfigError
from beanwatch.config.reader import load
from beanwatch.file_access import find_writers
from beanwatch.telemetry.logging.output import LogOutput
from tests.real import HttpSink

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration in a directory of its own."""
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o755)
    path = folder / "beanwatch.toml"
    path.write_text("")
    path.chmod(0o644)
    return path


def spoil(file: Path, how: str) -> str:
    """Let others change the file, and return the words for it."""
    if how == "world":
        file.chmod(0o646)
        return f"all users can write to {file}"
    if how == "group":
        os.chown(file, 0, NOBODY)
        file.chmod(0o664)
        return f"the group nogroup can write to {file}"
    if how == "owner":
        os.chown(file, NOBODY, 0)
        return f"{file} belongs to the user nobody"
    file.parent.chmod(0o757)
    return f"all users can write to {file.parent}"


WAYS = ["world", "group", "owner", "directory"]


@needs_root
@pytest.mark.parametrize("how", WAYS)
def test_root_uses_no_configuration_that_others_can_change(file: Path, run, how: str):
    load(str(file))
    words = spoil(file, how)
    with pytest.raises(ConfigError) as error:
        load(str(file))
    text = f"configuration file {file}: root does not use a file that others can change: {words}"
    assert str(error.value) == text
    for argv in (("beanwatch", "collect", "--once"), ("beanwatch", "config", "check")):
        code, _, stderr = run(*argv, "--config", file)
        assert code == 2
        assert stderr.startswith(f"beanwatch: {text}")
    code, stdout, _ = run("check_queue_server", "--config", file)
    assert (code, words in stdout) == (3, True)


@needs_root
def test_a_link_is_judged_by_what_it_names(file: Path, tmp_path: Path):
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    assert list(find_writers(str(link))) == []
    words = spoil(file, "world")
    assert list(find_writers(str(link))) == [words]


@needs_root
def test_root_by_sudo_trusts_who_called_it(file: Path):
    spoil(file, "owner")
    load(str(file), {"SUDO_UID": str(NOBODY)})


@needs_root
@pytest.mark.parametrize("how", WAYS)
def test_config_check_and_doctor_warn_whoever_uses_it(
    file: Path, how: str, monkeypatch: pytest.MonkeyPatch
):
    words = spoil(file, how)
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    config = load(str(file))
    problems = list(find_writer_problems(config))
    assert f"configuration: others can change {file}: {words}" in problems
    states = {finding.text: finding.state for finding in probe_configuration(config)}
    assert all(states[problem] == "warning" for problem in problems)


@needs_root
def test_a_password_file_that_others_can_change_is_named(file: Path, run):
    password = file.parent / "password"
    password.write_text("x")
    password.chmod(0o640)
    file.write_text(f'[redis]\npassword_file = "{password}"\n')
    assert run("beanwatch", "config", "check", "--config", file).code == 0
    os.chown(password, NOBODY, 0)
    code, _, stderr = run("beanwatch", "config", "check", "--config", file)
    words = f"others can change {password}: {password} belongs to the user nobody"
    assert (code, stderr) == (2, f"{file}: redis.password_file: {words}\n")
    code, stdout, _ = run("beanwatch", "doctor", "--config", file, "--wait", "0.1s")
    assert f"warning  configuration: redis.password_file: {words}" in stdout


@needs_root
def test_a_file_that_never_ends_or_waits_for_a_writer_is_one_line(run, tmp_path: Path):
    """A password file, a secret, and the list of a catch-all service."""
    fifo, config = tmp_path / "fifo", tmp_path / "beanwatch.toml"
    os.mkfifo(fifo)
    for path in (fifo, "/dev/zero", tmp_path):
        config.write_text(f'[redis]\npassword_file = "{path}"\n')
        words = f"redis.password_file: cannot read {path}: it is not a plain file"
        code, out, err = run("beanwatch", "workers", "list", "--config", config)
        assert (code, out, err.partition(" (see ")[0]) == (2, "", f"beanwatch: {words}")
        code, out, _ = run("check_redis", "--config", config)
        assert (code, out.partition("\n")[0]) == (3, f"REDIS UNKNOWN - {words}")
        code, out, _ = run("check_queue_depth", "--services", path)
        assert (code, f"cannot read {path}: it is not a plain file" in out) == (3, True)


def test_a_webhook_that_others_can_change_is_named_and_the_alert_is_sent(file: Path, run):
    with HttpSink() as web:
        file.write_text(f"{web.url}/x\n")
        words = spoil(file, "world")
        alert = ("--kind", "x", "--host", "x", "--state", "x", "--output", "x")
        code, _, stderr = run("beanwatch_notify", "--webhook-file", file, *alert)
        assert len(web.requests) == 1
    assert (code, stderr) == (0, f"beanwatch_notify: others can change {file}: {words}\n")


def test_a_pipe_can_be_a_configuration(run):
    assert run("beanwatch", "config", "check", "--config", "/dev/stdin", stdin="").code == 0


@needs_root
@pytest.mark.parametrize("how", ["link", "directory"])
def test_a_log_is_not_written_through_a_link_of_another_user(file: Path, tmp_path: Path, how: str):
    link = file.parent / "log"
    link.symlink_to(tmp_path / "victim")
    LogOutput(str(link), []).write(
        b"ours\n"
    )  # as /var/log/worker.log -> /dev/stdout in a container
    if how == "link":
        os.chown(link, NOBODY, 0, follow_symlinks=False)
    else:
        file.parent.chmod(0o777)
    with pytest.raises(OSError, match="it is a symbolic link that another user can have made"):
        LogOutput(str(link), [])
    assert (tmp_path / "victim").read_bytes() == b"ours\n"
