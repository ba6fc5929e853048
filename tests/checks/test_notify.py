"""beanwatch_notify: mail, webhook, file; and what it says when one fails."""

import os
import socket
import stat
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.checks.channels import mail as mail_channel
from beanwatch.checks.channels.alert import Alert
from beanwatch.checks.channels.mail import make_mail
from beanwatch.checks.channels.webhook import make_slack
from tests.real import ROOT, HttpSink, SmtpSink, closed_port
from tests.real.drip import Drip
from tests.real.silent_dns import run_with_silent_dns

ALERT = (
    *("--kind", "PROBLEM", "--host", "queue1", "--service", "buried of images"),
    *("--state", "CRITICAL", "--output", "QUEUE_BURIED CRITICAL - images: 1 job buried"),
    *("--long", r"Runbook: http://r#queue-buried\nOK: a", "--runbook", "http://r#queue-buried"),
    *("--since", "1800000000"),
)


def test_a_mail_says_it_all(run):
    with SmtpSink() as mail:
        argv = ("--mail", "a@example.org", "--mail", "b@example.org", "--smtp", mail.address)
        assert run("beanwatch_notify", *argv, *ALERT) == (0, "", "")
        (sent,) = mail.mails
    assert sent.recipients == ["a@example.org", "b@example.org"]
    subject = "PROBLEM: queue1 buried of images is CRITICAL: images: 1 job buried"
    assert sent.message["subject"] == subject
    assert sent.message["auto-submitted"] == "auto-generated"
    body = sent.message.get_content().replace("\r\n", "\n")
    assert body.startswith(
        "QUEUE_BURIED CRITICAL - images: 1 job buried\nOK: a\n\nHost:    queue1\n"
    )
    assert "State:   CRITICAL, since 2027-01-15 " in body


def test_one_failure_stops_no_other_and_no_secret_is_shown(run, tmp_path: Path):
    mailbox = tmp_path / "mailbox"
    secret = tmp_path / "url"
    secret.write_text(f"http://127.0.0.1:{closed_port()}/services/SECRET\n")
    smtp = f"127.0.0.1:{closed_port()}"
    code, stdout, stderr = run(
        *("beanwatch_notify", "--mail", "a@example.org", "--smtp", smtp),
        *("--webhook-file", secret, "--file", mailbox, "--timeout", "3", *ALERT),
    )
    assert (code, stdout) == (1, "")
    lines = stderr.splitlines()
    assert lines[0].startswith(f"beanwatch_notify: cannot send mail through {smtp}: ")
    assert lines[1].startswith(
        f"beanwatch_notify: cannot post the alert to the webhook in {secret}: "
    )
    assert "SECRET" not in stderr
    fields = mailbox.read_text().rstrip("\n").split("\t")
    assert fields[:4] == ["PROBLEM", "queue1", "buried of images", "CRITICAL"]
    assert fields[5] == "http://r#queue-buried"
    assert stat.S_IMODE(mailbox.stat().st_mode) & 0o007 == 0


def test_what_is_no_utf_8_and_no_address_loses_nothing(run, tmp_path: Path):
    mailbox = tmp_path / "mailbox"
    latin = ("--comment", "Andr\udce9 looks", "--since", "9" * 30)  # as Latin-1 comes in argv
    with SmtpSink() as mail:
        argv = ("--mail", "a@example.org", "--smtp", mail.address, "--file", mailbox)
        assert run("beanwatch_notify", *argv, *ALERT[:-2], *latin) == (0, "", "")
        (sent,) = mail.mails
    assert "Andr\ufffd looks" in sent.message.get_content()
    argv = ("--mail", "a@example.org\nBcc: b@example.org", "--file", mailbox)
    code, _, stderr = run("beanwatch_notify", *argv, *ALERT)
    assert (code, len(stderr.splitlines())) == (1, 1)
    assert stderr.startswith("beanwatch_notify: cannot make a mail to 'a@example.org\\nBcc")
    assert len(mailbox.read_text().splitlines()) == 2


def test_a_webhook_that_refuses_is_said(run, tmp_path: Path):
    with HttpSink(status=404) as web:
        secret = tmp_path / "url"
        secret.write_text(f"{web.url}/x\n")
        code, _, stderr = run("beanwatch_notify", "--webhook-file", secret, *ALERT)
    failed = f"cannot post the alert to the webhook in {secret}"
    assert (code, stderr) == (1, f"beanwatch_notify: {failed}: HTTP 404\n")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_webhook_that_has_moved_is_not_followed_without_the_alert(
    run, tmp_path: Path, status: int
):
    with HttpSink() as new, HttpSink(status, f"{new.url}/SECRET") as old:
        secret = tmp_path / "url"
        secret.write_text(f"{old.url}/x\n")
        code, _, stderr = run("beanwatch_notify", "--webhook-file", secret, *ALERT)
    failed = f"cannot post the alert to the webhook in {secret}"
    moved = f"HTTP {status} (it has moved: write its new URL into the file)"
    assert (code, stderr) == (1, f"beanwatch_notify: {failed}: {moved}\n")
    assert new.requests == []


def test_a_recipient_that_the_mail_server_refuses_is_said(run):
    with SmtpSink(refused="b@example.org") as mail:
        argv = ("--mail", "a@example.org", "--mail", "b@example.org", "--smtp", mail.address)
        code, _, stderr = run("beanwatch_notify", *argv, *ALERT)
        (sent,) = mail.mails
    assert sent.recipients == ["a@example.org"]
    refused = "refused the mail to b@example.org: 550 5.1.1 no such user"
    assert (code, stderr) == (1, f"beanwatch_notify: {mail.address} {refused}\n")


def test_a_file_is_not_written_through_a_symlink(run, tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    code, _, stderr = run("beanwatch_notify", "--file", tmp_path / "link", *ALERT)
    assert code == 1
    assert "symbolic links" in stderr
    assert not (tmp_path / "victim").exists()


# -- the whole ends with the timeout

START = 8.0  # a loaded machine takes its time to start a process


def test_targets_that_hang_end_with_the_timeout_and_stop_no_other(run, tmp_path: Path):
    mailbox, fifo, drips, reads = (tmp_path / name for name in ("mailbox", "fifo", "drips", "url"))
    os.mkfifo(fifo)
    os.mkfifo(reads)
    with Drip(b"HTTP/1.1 200 OK\r\nX: ") as web, Drip(b"220-") as smtp:
        drips.write_text(f"http://{web.address}/services/SECRET\n")
        started = time.monotonic()
        code, stdout, stderr = run(
            *("beanwatch_notify", "--timeout", "2", *ALERT),
            *("--mail", "a@example.org", "--smtp", smtp.address),
            *("--webhook-file", drips, "--webhook-file", reads),
            *("--file", fifo, "--file", mailbox),
        )
        assert time.monotonic() - started < 2 + START
    late = "not done within 2 s"
    assert (code, stdout, stderr.splitlines()) == (
        1,
        "",
        [
            f"beanwatch_notify: cannot send the alert by mail through {smtp.address}: {late}",
            f"beanwatch_notify: cannot send the alert to the webhook in {drips}: {late}",
            f"beanwatch_notify: cannot send the alert to the webhook in {reads}: {late}",
            f"beanwatch_notify: cannot write the alert to {fifo}: No such device or address",
        ],
    )
    assert len(mailbox.read_text().splitlines()) == 1


def test_a_name_server_that_hangs_costs_the_timeout_and_stops_no_other_target(tmp_path: Path):
    mailbox = tmp_path / "mailbox"
    argv = [str(ROOT / ".venv" / "bin" / "beanwatch_notify"), "--timeout", "2", *ALERT]
    argv += ["--mail", "a@example.org", "--smtp", "smtp.example.org", "--file", str(mailbox)]
    started = time.monotonic()
    done = run_with_silent_dns(tmp_path, argv)
    assert time.monotonic() - started < 2 + START
    failed = "cannot send the alert by mail through smtp.example.org: not done within 2 s"
    assert (done.returncode, done.stderr) == (1, f"beanwatch_notify: {failed}\n")
    assert len(mailbox.read_text().splitlines()) == 1


def test_without_a_name_server_a_mail_has_the_hosts_short_name(monkeypatch: pytest.MonkeyPatch):
    answered = threading.Event()
    monkeypatch.setattr(socket, "getfqdn", lambda: str(answered.wait(20)))
    assert mail_channel.find_host_name(0.1) == socket.gethostname()
    answered.set()


def test_a_webhook_that_is_no_web_server_or_no_url_shows_no_secret(run, tmp_path: Path):
    secret = tmp_path / "url"
    with Drip(b"SSH-2.0-x\r\n\r\n") as other:
        for url in (f"http://{other.address}/SECRET", "http://h/SECRET \x01", "http://[SECRET"):
            secret.write_text(f"{url}\n")
            code, _, stderr = run("beanwatch_notify", "--webhook-file", secret, *ALERT)
            assert code == 1
            failed = f"beanwatch_notify: cannot post the alert to the webhook in {secret}: "
            assert stderr.startswith(failed)
            assert len(stderr.splitlines()) == 1
            assert "SECRET" not in stderr


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "x", "3601"])
def test_a_timeout_that_is_no_time_limit_is_misuse(run, seconds: str):
    code, _, stderr = run("beanwatch_notify", f"--timeout={seconds}", "--file", "/x", *ALERT)
    assert code == 2
    assert "expected seconds, above 0 and up to 3600" in stderr


def test_nowhere_to_send_it_is_misuse(run):
    code, _, stderr = run("beanwatch_notify", *ALERT)
    wrong = "no target: use --mail, --webhook-file or --file"
    assert (code, stderr) == (2, f"beanwatch_notify: {wrong}\n")


text = st.text(max_size=100)


@given(text, text, text, text, text)
def test_no_text_breaks_a_mail_or_a_webhook(kind, host, service, state, output):
    alert = Alert(kind, host, service, state, output, long=output, comment=service)
    mail = make_mail(alert, "a@example.org", ["b@example.org"])
    assert mail.as_bytes()
    assert "\n" not in str(mail["subject"])
    assert make_slack(alert)
