"""beanwatch install: what goes where, again and again, and never over what is yours."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from beanwatch.cli.lib.install_kinds import KINDS
from beanwatch.cli.lib.installer import MANIFEST, FileInstaller, FileToInstall
from tests.real import ROOT, Beanstalkd


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("family", ["debian", "redhat"])
def test_a_second_run_changes_nothing(run, tmp_path: Path, kind: str, family: str):
    argv = ("beanwatch", "install", kind, "--family", family, "--dest", tmp_path / "root")
    code, first, _ = run(*argv)
    assert code == 0
    assert "new " in first
    assert first.splitlines()[-1].startswith(("then: ", "no further step: "))
    code, second, _ = run(*argv)
    assert code == 0
    steps = second.splitlines()[:-1]
    assert steps
    for step in steps:
        assert step.split()[0] in ("same", "kept"), step


def test_a_dry_run_touches_nothing(run, tmp_path: Path):
    argv = ("beanwatch", "install", "nagios", "--dest", tmp_path / "root", "--dry-run")
    code, said, _ = run(*argv)
    assert code == 0
    assert "beanwatch-commands.cfg" in said
    assert said.splitlines()[-1].startswith("would then: ")
    steps = said.splitlines()[:-1]
    assert {step[:13].strip() for step in steps} == {"would create", "would link"}
    assert not (tmp_path / "root").exists()


def test_services_without_limits_are_named(run, tmp_path: Path):
    (tmp_path / "b.toml").write_text(
        "[queues.'email.*'.depth]\nwarning = 5\n[queues.images.age]\nwarning = 5\n"
    )
    argv = ("beanwatch", "install", "nagios", "--dest", tmp_path / "root")
    said = run(*argv, "--config", "b.toml")
    assert said.stderr == (
        "note: no limits are set for 2 services, so the result is always OK: depth of images, "
        'depth of other queues; set limits in [checks.depth] or [queues."GLOB".depth]\n'
    )
    assert "depth of all queues" in run(*argv).stderr
    (tmp_path / "b.toml").write_text("[checks.depth]\nwarning = 5\n")
    assert run(*argv, "--config", "b.toml").stderr == ""
    assert run("beanwatch", "install", "cron", "--dest", tmp_path / "root").stderr == ""


@pytest.mark.parametrize("kind", ["nagios", "nrpe", "icinga2"])
def test_a_configuration_is_named_as_others_find_it(run, tmp_path: Path, kind: str):
    (tmp_path / "b.toml").write_text("[queues.'email.*'.depth]\nwarning = 5\n")
    argv = ("beanwatch", "install", kind, "--dest", tmp_path / "root", "--config", "b.toml")
    assert run(*argv)[0] == 0
    files = [path for path in (tmp_path / "root/etc").rglob("*") if path.is_file()]
    texts = [path.read_text() for path in files]
    assert any(str(tmp_path / "b.toml") in text for text in texts)


def test_on_red_hat_things_are_where_red_hat_looks(run, tmp_path: Path):
    for kind in ("nrpe", "supervisor"):
        argv = ("beanwatch", "install", kind, "--family", "redhat", "--dest", tmp_path)
        assert run(*argv)[0] == 0
    commands = (tmp_path / "etc/nrpe.d/beanwatch-checks.cfg").read_text()
    assert "=/usr/lib64/nagios/plugins/check_queue_server" in commands
    assert "/usr/lib/nagios" not in commands
    assert list((tmp_path / "etc/supervisord.d").glob("*.ini"))


def test_what_somebody_changed_is_kept_and_ours_is_beside_it(run, tmp_path: Path):
    root = tmp_path / "root"
    argv = ("beanwatch", "install", "nagios", "--family", "debian", "--dest", root)
    run(*argv)
    commands = root / "etc/nagios4/conf.d/beanwatch-commands.cfg"
    shipped = commands.read_text()
    commands.write_text("# mine\n")
    code, said, _ = run(*argv)
    assert code == 0
    assert f"kept     {commands} (changed by somebody; the new version is in" in said
    assert commands.read_text() == "# mine\n"
    assert commands.with_name(f"{commands.name}.beanwatch-new").read_text() == shipped


def test_all_is_placed_though_nobody_reads_what_is_said(tmp_path: Path):
    near, far = os.pipe()
    os.close(near)
    with os.fdopen(far, "wb") as pipe:
        argv = [ROOT / ".venv/bin/beanwatch", "install", "grafana", "--dest", tmp_path]
        subprocess.run(argv, stdout=pipe, stderr=subprocess.PIPE, timeout=30)
    assert (tmp_path / "var/lib/beanwatch/installed.json").exists()


def test_examples_are_placed_once(tmp_path: Path):
    install = FileInstaller(tmp_path).install
    assert [s.status for s in install([FileToInstall("/a", b"1", is_example=True)])] == ["new"]
    assert [
        s.status
        for s in FileInstaller(tmp_path).install([FileToInstall("/a", b"2", is_example=True)])
    ] == ["kept"]
    assert (tmp_path / "a").read_bytes() == b"1"


def test_a_file_of_ours_that_nobody_changed_is_updated(tmp_path: Path):
    assert [s.status for s in FileInstaller(tmp_path).install([FileToInstall("/a", b"1")])] == [
        "new"
    ]
    assert [s.status for s in FileInstaller(tmp_path).install([FileToInstall("/a", b"2")])] == [
        "updated"
    ]
    assert (tmp_path / "a").read_bytes() == b"2"


def test_another_program_of_that_name_is_kept(tmp_path: Path):
    (tmp_path / "check_x").write_text("theirs")
    (step,) = FileInstaller(tmp_path).install([FileToInstall("/check_x", link="/ours")])
    assert step.status == "kept"
    assert (tmp_path / "check_x").read_text() == "theirs"


def test_what_cannot_be_placed_is_said_and_exits_1(run, tmp_path: Path):
    (tmp_path / "root").write_text("a file")
    code, said, stderr = run("beanwatch", "install", "cron", "--dest", tmp_path / "root")
    assert code == 1
    assert "failed" in said
    assert stderr == (
        "beanwatch: some files were not installed (see `failed` above): run it as root, or install "
        "below another directory with --dest DIR\n"
    )


def test_a_server_that_cannot_be_discovered_is_said(run, tmp_path: Path):
    argv = ("beanwatch", "install", "nagios", "--dest", tmp_path, "--discover")
    code, _, stderr = run(*argv, "--server", "127.0.0.1:1")
    assert code == 1
    assert stderr.startswith(
        "beanwatch: --discover: cannot list the queues of 127.0.0.1:1: connection refused"
    )


def test_a_wrong_word_names_the_right_ones(run):
    code, _, stderr = run("beanwatch", "install", "nagois")
    assert code == 2
    assert "nagios" in stderr


def test_services_are_made_of_the_configuration_and_of_what_is_there(
    run, tmp_path: Path, beanstalkd: Beanstalkd
):
    with beanstalkd.client(use="found") as client:
        client.put("x")
    config = tmp_path / "beanwatch.toml"
    config.write_text(
        f'[servers]\nq1 = "{beanstalkd.address}"\n[queues."email.*".depth]\nwarning = 5\n'
    )
    argv = ("--dest", tmp_path / "root", "--family", "debian", "--discover", "--config", config)
    assert run("beanwatch", "install", "nagios", *argv)[0] == 0
    services = (tmp_path / "root/etc/nagios4/conf.d/beanwatch-services.cfg").read_text()
    assert "check_queue_age!found\n" in services
    assert "email" not in services, "a glob gives limits only, where queues are discovered"
    assert "check_queue_age!*!--services /etc/beanwatch/services-nagios.json\n" in services
    own = json.loads((tmp_path / "root/etc/beanwatch/services-nagios.json").read_text())
    assert own == {"queues": {"q1": ["default", "found"]}, "workers": [], "jobs": []}
    assert run("beanwatch", "install", "nagios", *argv[:4], *argv[5:])[0] == 0
    services = (tmp_path / "root/etc/nagios4/conf.d/beanwatch-services.cfg").read_text()
    assert "check_queue_depth!email.*!--services /etc/beanwatch/services-nagios.json\n" in services
    assert f"_BEANWATCH_OPTIONS  -t 10 --config {config}\n" in services


@pytest.mark.parametrize("level", ["root", "root/etc", "root/etc/cron.d"])
def test_nothing_is_installed_through_a_link_at_any_level(run, tmp_path: Path, level: str):
    victim = tmp_path / "victim"
    (victim / "cron.d").mkdir(parents=True)
    link = tmp_path / level
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(victim)
    code, said, _ = run("beanwatch", "install", "cron", "--dest", tmp_path / "root")
    assert code == 1
    assert f"({link} is a symbolic link, and nothing is written through one)" in said
    assert [path.name for path in victim.rglob("*")] == ["cron.d"]


def test_a_link_in_place_of_a_file_is_kept_and_what_it_names_is_not_read(tmp_path: Path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"1")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a").symlink_to(victim)
    (tmp_path / "root/a.beanwatch-new").symlink_to(victim)
    (step,) = FileInstaller(tmp_path / "root").install([FileToInstall("/a", b"1")])
    assert step.status == "kept"
    assert victim.read_bytes() == b"1"
    assert (tmp_path / "root/a").is_symlink()
    assert (tmp_path / "root/a.beanwatch-new").read_bytes() == b"1"


def test_a_list_of_what_was_installed_is_not_written_through_a_link(tmp_path: Path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"{}")
    manifest = tmp_path / "root" / MANIFEST
    manifest.parent.mkdir(parents=True)
    manifest.symlink_to(victim)
    (step,) = FileInstaller(tmp_path / "root").install([FileToInstall("/a", b"1")])
    assert step.status == "new"
    assert victim.read_bytes() == b"{}"


def test_names_of_temporary_files_cannot_be_known_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    renamed: list[str] = []
    rename = os.rename
    monkeypatch.setattr(os, "rename", lambda a, b, **to: (renamed.append(a), rename(a, b, **to)))
    for number in range(2):
        files = [FileToInstall("/a", b"%d" % number), FileToInstall("/b", link=f"/{number}")]
        list(FileInstaller(tmp_path).install(files))
    assert len(set(renamed)) == len(renamed) == 6
    assert not list(tmp_path.rglob("*.beanwatch-new"))


def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "a")
    (step,) = FileInstaller(tmp_path).install([FileToInstall("/a", b"1")])
    assert (step.status, step.reason) == ("failed", "not a regular file")


def test_directories_are_made_that_only_their_owner_can_write_to(tmp_path: Path):
    old = os.umask(0)
    try:
        list(FileInstaller(tmp_path).install([FileToInstall("/made/a", b"1")]))
    finally:
        os.umask(old)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "made/a").stat().st_mode & 0o777 == 0o644
