"""Putting jobs: by command, by application, by a script; every refusal is one clear line."""

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.worker import App, Context, EnvelopeError, FollowUp, Producer, PutError
from beanwatch.worker.api.envelope import decode, encode
from tests.conftest import Result
from tests.real import Beanstalkd, Proxy, wait_until

Run = Callable[..., Result]


def take(server: Beanstalkd, queue: str) -> tuple[dict[str, Any], dict[str, Any]]:
    with server.client(watch=queue) as client:
        job = client.reserve(timeout=5)
        return json.loads(job.body), dict(client.stats_job(job))


def test_a_job_is_put_in_an_envelope_and_its_ids_are_printed(run: Run, beanstalkd: Beanstalkd):
    with beanstalkd.client(watch="email.regular"):
        code, out, err = run(
            "beanwatch", "put", "email.regular", "email.send", '{"to": "ann"}',
            "--server", beanstalkd.address, "--priority", 5, "--ttr", "1.5s",
        )  # fmt: skip
    body, stats = take(beanstalkd, "email.regular")
    assert (code, err) == (0, "")
    assert out == (
        f"put job {stats['id']} into email.regular on {beanstalkd.address}, "
        f"envelope id {body['id']}\n"
    )
    assert (body["job"], body["data"]) == ("email.send", {"to": "ann"})
    assert (stats["pri"], stats["ttr"]) == (5, 2)
    assert decode(json.dumps(body).encode()).enqueued_at


def test_a_queue_that_nobody_watches_is_a_warning_that_names_the_one_that_was_meant(
    run: Run, beanstalkd: Beanstalkd, tmp_path: Path
):
    at = ("--server", beanstalkd.address)
    for _ in range(2):  # at the second put, the misspelled queue exists, but nobody watches it
        with beanstalkd.client(watch="email.regular"):
            code, out, err = run("beanwatch", "put", "emial.regular", "email.send", *at, "--json")
        assert json.loads(out)["queue"] == "emial.regular"
        assert (code, err) == (
            0,
            "beanwatch: warning: nobody watches emial.regular; did you mean email.regular?\n",
        )
    code, _, err = run("beanwatch", "put", "emial.reguler", "email.send", *at)
    assert (code, err) == (0, "beanwatch: warning: nobody watches emial.reguler\n")
    config = tmp_path / "beanwatch.toml"
    config.write_text('[queues."email.regular".depth]\nwarning = 5\n')
    _, _, err = run("beanwatch", "put", "emial.regular", "email.send", *at, "--config", config)
    assert err.endswith("; did you mean email.regular?\n")
    assert run("beanwatch", "put", "default", "email.send", *at).stderr == ""


def test_what_cannot_be_known_of_the_queue_is_no_warning(
    run: Run, beanstalkd: Beanstalkd, proxy: Callable[[str], Proxy]
):
    between = proxy(beanstalkd.address)
    between.truncate(len("USING t\r\nINSERTED 1\r\n"))
    code, out, err = run("beanwatch", "put", "t", "j", "--server", between.address)
    assert (code, err) == (0, "")
    assert out.startswith("put job 1 into t on ")


def test_data_comes_from_standard_input_and_the_answer_is_json(run: Run, beanstalkd: Beanstalkd):
    code, out, _ = run(
        "beanwatch", "put", "t", "j", "-", "--server", beanstalkd.address, "--json", stdin="[1, 2]"
    )
    told = json.loads(out)
    body, stats = take(beanstalkd, "t")
    assert code == 0
    assert told == {
        "job_id": stats["id"],
        "id": body["id"],
        "queue": "t",
        "server": beanstalkd.address,
    }
    assert body["data"] == [1, 2]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["t", "j", "{'a': 1}"], "DATA-JSON is not valid JSON"),
        (["a b", "j"], "queue"),
        (["t\r\ndelete 1", "j"], "queue"),
        (["-t", "j"], "No such option"),
        (["t", ""], "job"),
        (["t", "j", "--priority", str(2**32)], "<= 4294967295"),
        (["t", "j", "--ttr", "0"], ">= 1"),
        (["t", "j", "--delay", "soon"], "expected a duration"),
        (["t"], "Missing argument 'JOB'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    run: Run, beanstalkd: Beanstalkd, argv: list[str], said: str
):
    code, out, err = run("beanwatch", "put", *argv, "--server", beanstalkd.address)
    assert (code, out) == (2, "")
    assert said.lower() in err.lower()
    assert err.count("\n") == 1
    assert beanstalkd.stats()["total-jobs"] == 0


def test_a_server_that_is_gone_or_refuses_is_one_line_and_exit_1(run: Run, beanstalkd: Beanstalkd):
    big = json.dumps("x" * 70_000)
    code, _, err = run("beanwatch", "put", "t", "j", "-", "--server", beanstalkd.address, stdin=big)
    assert (code, err) == (
        1,
        f"beanwatch: putting the job failed: {beanstalkd.address}: "
        "the job is larger than the server's max-job-size\n",
    )
    os.kill(beanstalkd.pid, signal.SIGUSR1)
    wait_until(lambda: beanstalkd.stats()["draining"])
    code, _, err = run("beanwatch", "put", "t", "j", "--server", beanstalkd.address)
    assert (code, err) == (
        1,
        f"beanwatch: putting the job failed: {beanstalkd.address}: "
        "the server is draining and takes no new jobs\n",
    )
    code, _, err = run("beanwatch", "put", "t", "j", "--server", "127.0.0.1:1")
    assert (code, err.count("\n")) == (1, 1)
    assert "connection refused" in err


def test_with_several_servers_one_must_be_named(run: Run, beanstalkd: Beanstalkd, tmp_path: Path):
    file = tmp_path / "beanwatch.toml"
    file.write_text(f'[servers]\nq1 = "{beanstalkd.address}"\nq2 = "127.0.0.1:1"\n')
    code, _, err = run("beanwatch", "put", "t", "j", "--config", file)
    assert (code, "with --server: q1, q2" in err) == (2, True)
    assert run("beanwatch", "put", "t", "j", "--config", file, "--server", "q1").code == 0


class Mail(msgspec.Struct):
    to: str


def make_app() -> App:
    app = App()

    @app.job("mail")
    def mail(ctx: Context, data: Mail) -> None: ...

    return app


def test_an_application_checks_the_data_as_its_worker_will(beanstalkd: Beanstalkd):
    app = make_app()
    for job, data, said in (
        ("mail", {"to": 1}, r"its data is invalid: Expected `str`, got `int` - at `\$.to`"),
        ("male", {"to": "ann"}, "no handler for the job 'male'"),
        ("mail", {"to": object()}, "cannot be written as JSON"),
    ):
        with pytest.raises(EnvelopeError, match=said):
            app.put("t", job, data, server=beanstalkd.address)
    put = app.put(
        "t",
        "mail",
        Mail("ann"),
        server=beanstalkd.address,
        success=FollowUp("u", "next"),
        id="order-7",
    )
    body, stats = take(beanstalkd, "t")
    assert (put.job_id, put.id) == (stats["id"], "order-7")
    assert body["data"] == {"to": "ann"}
    assert body["success"] == {"queue": "u", "job": "next"}
    app.put("t", "mail", Mail("bob"), server=beanstalkd.address)
    assert beanstalkd.stats()["total-connections"] == 3  # one for both puts, two to look
    app.close()


def test_a_connection_that_broke_while_idle_is_made_anew(beanstalkd: Beanstalkd):
    with Producer(beanstalkd.address) as producer:
        producer.put("t", "j")
        beanstalkd.restart()
        producer.put("t", "j")
        beanstalkd.stop()
        with pytest.raises(PutError, match="connection refused"):
            producer.put("t", "j")
        beanstalkd.start()
        assert producer.put("t", "j").job_id == 1


def test_threads_and_forked_children_may_share_a_producer(beanstalkd: Beanstalkd):
    with Producer(beanstalkd.address) as producer:
        threads = [
            threading.Thread(target=lambda: [producer.put("t", "j") for _ in range(50)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        children = []
        for _ in range(3):
            child = os.fork()
            if not child:
                code = 1
                try:
                    for _ in range(50):
                        producer.put("t", "j")
                    code = 0
                finally:
                    os._exit(code)
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
        assert producer.put("t", "j").job_id == 351
    assert beanstalkd.stats_tube("t")["current-jobs-ready"] == 351


def test_a_child_that_is_forked_while_another_thread_puts_can_put(beanstalkd: Beanstalkd):
    with Producer(beanstalkd.address, timeout=20) as producer:
        producer.put("t", "j")
        beanstalkd.freeze()
        thread = threading.Thread(target=producer.put, args=("t", "j"))
        thread.start()
        lock = next(iter(producer._locks.values()))
        wait_until(lock.locked)
        child = os.fork()
        if not child:
            code = 1
            try:
                producer.put("t", "j")
                code = 0
            finally:
                os._exit(code)
        beanstalkd.thaw()
        thread.join()
        try:
            wait_until(lambda: beanstalkd.stats_tube("t")["current-jobs-ready"] == 3)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


_data = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(job=st.text(min_size=1, max_size=50), data=_data)
def test_what_is_put_is_what_a_worker_reads(job: str, data: Any):
    envelope = decode(encode(job, data, id="a", enqueued_at=1.5))
    assert envelope.job == job
    assert msgspec.json.decode(envelope.data) == ({} if data is None else data)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["q", "j", "--priority", "4294967296"], "--priority: expected a whole number <="),
        (["q", "j", "--ttr", "0"], "--ttr: expected a whole number >= 1"),
        (["a b", "j"], "QUEUE: expected text with only letters"),
        (["q", ""], "JOB: expected text of length >= 1"),
    ],
)
def test_a_refused_argument_is_named_as_it_was_typed(run: Run, argv: list[str], words: str):
    code, _, err = run("beanwatch", "put", *argv)
    assert code == 2
    assert err.startswith(f"beanwatch: {words}")
    assert "$" not in err.replace("+/;.$_()", "")
