"""Signed commands: only who has the secret can stop a worker."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.config.reader import load
from beanwatch.config.secrets import read_signing_secret
from beanwatch.net.address import parse_address
from beanwatch.worker.control import signature
from beanwatch.worker.control.channel import Target
from beanwatch.worker.control.client import send_command
from beanwatch.worker.control.messages import Message, encode
from beanwatch.worker.control.signature import SignatureChecker, sign
from tests.real import Beanstalkd, wait_until
from tests.worker_core.conftest import Broker, StartWorker

Run = Callable[..., tuple[int, str, str]]

SECRET = b"0123456789abcdef0123456789abcdef"
QUEUE = "beanwatch.control.here.w1"
STOP = encode(Message("stop", instance="i"))


def checker(secret: bytes = SECRET) -> SignatureChecker:
    return SignatureChecker(secret, QUEUE)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(SECRET + b"\n")
    path.chmod(0o600)
    return path


def test_a_signed_command_is_accepted_once() -> None:
    signed, worker = sign(STOP, QUEUE, SECRET, now=1000.0), checker()
    assert worker.check(signed, 1000.0) == (STOP, "")
    assert worker.check(signed, 1000.0) == (STOP, "it is a copy of an earlier command")
    assert worker.check(sign(STOP, QUEUE, SECRET, now=1000.0), 1000.0) == (STOP, "")


def test_a_command_that_was_held_back_or_signed_for_another_worker_is_refused() -> None:
    for late in (-301.0, 301.0):
        _, reason = checker().check(sign(STOP, QUEUE, SECRET, now=1000.0 + late), 1000.0)
        assert "it was signed 301 s" in reason
    assert checker().check(sign(STOP, QUEUE, SECRET, now=1000.0), 1030.0) == (STOP, "")
    _, reason = checker().check(sign(STOP, QUEUE + "2", SECRET, now=1000.0), 1000.0)
    assert reason == f"it was signed for another queue, {QUEUE}2"


def test_no_copy_is_accepted_after_the_clock_was_set_back() -> None:
    signed, worker = sign(STOP, QUEUE, SECRET, now=1000.0), checker()
    assert worker.check(signed, 1000.0)[1] == ""
    assert worker.check(sign(STOP, QUEUE, SECRET, now=2000.0), 2000.0)[1] == ""
    assert worker.check(signed, 1000.0)[1] == "it is a copy of an earlier command"


def test_the_memory_of_nonces_is_bounded_and_forgets_no_valid_copy() -> None:
    worker = checker()
    signed = [sign(STOP, QUEUE, SECRET, now=1000 + n / 100) for n in range(3000)]
    for body in signed:
        assert worker.check(body, 1030.0)[1] == ""
        assert len(worker._nonces) <= signature.MAX_NONCES
    assert all(worker.check(body, 1030.0)[1] for body in signed)


def test_a_signed_command_must_name_the_instance_unless_it_changes_nothing() -> None:
    assert checker().check_instance(Message("stop")) == "it names no instance of this worker"
    assert checker().check_instance(Message("stop", instance="i")) == ""
    assert checker().check_instance(Message("status")) == ""
    assert checker(b"").check_instance(Message("stop")) == ""


def test_a_worker_without_a_secret_also_reads_signed_commands() -> None:
    assert checker(b"").check(sign(STOP, QUEUE, SECRET), 0.0) == (STOP, "")
    assert checker(b"").check(STOP, 0.0) == (STOP, "")


@given(st.integers(min_value=0), st.integers(0, 255))
def test_no_changed_byte_is_accepted(place: int, byte: int) -> None:
    body = bytearray(sign(STOP, QUEUE, SECRET, now=1000.0))
    place %= len(body)
    if body[place] == byte:
        return
    body[place] = byte
    command, reason = checker().check(bytes(body), 1000.0)
    assert reason or command == STOP  # such as another case of a letter in \u003c


@given(st.binary() | st.text().map(lambda t: json.dumps({"signed": t, "hmac": t}).encode()))
def test_nothing_that_is_not_signed_is_accepted(body: bytes) -> None:
    assert checker().check(body, 0.0) == (body, "it is not signed")


@given(st.text(), st.text())
def test_any_text_in_a_signature_is_refused(mac: str, other: str) -> None:
    content = json.dumps({"queue": other, "nonce": other, "at": 0, "command": {}})
    body = json.dumps({"signed": content, "hmac": mac}).encode()
    assert "another secret" in checker().check(body, 0.0)[1]


def test_a_worker_with_a_secret_obeys_no_command_without_it(
    start_worker: StartWorker, broker: Broker, beanstalkd: Beanstalkd, secret_file: Path
) -> None:
    worker = start_worker(env={"BEANWATCH_WORKERS_SECRET_FILE": str(secret_file)})
    worker.wait_for("idle")
    address = parse_address(beanstalkd.address)
    for secret, reason in ((b"", "it is not signed"), (SECRET[::-1], "another secret")):
        (result,) = send_command(
            [Target(worker.id, address, worker.beat().instance)], "stop", timeout=5, secret=secret
        )
        assert result.answer is not None
        assert not result.ok
        assert "the command was refused" in result.answer.text
        assert reason in result.answer.text
    broker.put_raw('{"command": "restart"}', queue=f"beanwatch.control.{worker.id}")
    wait_until(lambda: broker.counts(f"beanwatch.control.{worker.id}"))
    assert worker.in_state("idle")
    refusal = worker.logged("refused the command stop: it is not signed")
    assert refusal is not None
    assert refusal["level_name"] == "WARNING"
    # Without Redis, the sender does not know the instance, and asks for it first.
    (result,) = send_command([Target(worker.id, address)], "stop", timeout=5, secret=SECRET)
    assert result.answer is not None
    assert result.answer.text == "stops"
    assert worker.exit_code() == 0


def test_a_copy_of_a_signed_command_does_not_stop_the_next_instance(
    start_worker: StartWorker, beanstalkd: Beanstalkd, broker: Broker, secret_file: Path
) -> None:
    env = {"BEANWATCH_WORKERS_SECRET_FILE": str(secret_file)}
    worker = start_worker(env=env)
    worker.wait_for("idle")
    queue = f"beanwatch.control.{worker.id}"
    order = encode(Message("stop", instance=worker.beat().instance))
    stop = sign(order, queue, SECRET)
    anybody = sign(encode(Message("stop")), queue, SECRET)
    broker.put_raw(stop, queue=queue)
    assert worker.exit_code() == 0
    worker = start_worker(env=env)
    worker.wait_for("idle")
    for body in (stop, anybody):
        broker.put_raw(body, queue=queue)
    wait_until(lambda: worker.logged("refused the command stop: it names no instance"))
    assert worker.logged("was sent to another instance of this worker")
    assert worker.in_state("idle")


def test_the_command_line_signs_with_the_configured_secret(
    start_worker: StartWorker, beanstalkd: Beanstalkd, secret_file: Path, run: Run, tmp_path: Path
) -> None:
    path = tmp_path / "beanwatch.toml"
    path.write_text(f'[workers]\nsecret_file = "{secret_file}"\n')
    worker = start_worker("--config", path)
    worker.wait_for("idle")
    argv = ["beanwatch", "workers", "stop", worker.id, "--redis", worker.redis_url]
    code, out, err = run(*argv)
    assert (code, out) == (1, "")
    assert "it is not signed; see workers.secret_file" in err
    code, out, err = run(*argv, "--config", path)
    assert (code, out, err) == (0, f"{worker.id}: stops\n", "")
    assert worker.exit_code() == 0


@pytest.mark.parametrize(
    ("mode", "text", "problem"),
    [
        (0o600, "short", "has 5 characters, expected at least 32"),
        (0o604, SECRET.decode(), "other users can read or change"),
        (0o620, SECRET.decode(), "other users can read or change"),
    ],
)
def test_a_secret_that_is_no_secret_is_refused_at_the_start(
    secret_file: Path, run: Run, mode: int, text: str, problem: str
) -> None:
    secret_file.write_text(text)
    secret_file.chmod(mode)
    env = {"BEANWATCH_WORKERS_SECRET_FILE": str(secret_file)}
    for argv in (
        ("beanwatch", "worker", "tests.worker_core.jobs:app", "--queue", "q", "--name", "w"),
        ("beanwatch", "config", "check"),
        ("beanwatch", "workers", "stop", "here.w1", "--server", "127.0.0.1:1"),
    ):
        code, _, err = run(*argv, env=env)
        assert code == 2
        assert "workers.secret_file: " in err
        assert problem in err
        assert text not in err.replace(str(secret_file), "") or text == "short"


def test_the_secret_is_not_part_of_what_config_show_prints(
    secret_file: Path, run: Run, tmp_path: Path
) -> None:
    env = {"BEANWATCH_WORKERS_SECRET_FILE": str(secret_file)}
    code, out, _ = run("beanwatch", "config", "show", env=env)
    assert code == 0
    assert f'secret_file = "{secret_file}"' in out
    assert SECRET.decode() not in out
    assert read_signing_secret(load(None, env)) == SECRET
