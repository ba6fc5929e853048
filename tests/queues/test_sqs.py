"""Amazon SQS: read from moto, which answers as AWS does; what it costs and what it cannot tell."""

import http.server
import json
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import botocore.loaders
import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beanwatch.config import ServerConfig
from beanwatch.net.address import AddressError
from beanwatch.queues.base import (
    Chosen,
    ProtocolError,
    Reader,
    ReaderOptions,
    Reading,
    ServerError,
    UnsupportedError,
    Wanted,
)
from beanwatch.queues.model import QueueState
from beanwatch.queues.servers import Server, resolve_servers
from beanwatch.queues.sqs import api, cloudwatch
from beanwatch.queues.sqs.api import Sqs
from beanwatch.queues.sqs.reader import DeadLetterCount, to_queue
from beanwatch.words import install_command
from tests.real import ROOT
from tests.real.drip import Drip
from tests.real.ironmq import IronMq
from tests.real.moto import KEYS, REGION, Moto
from tests.real.process import closed_port

ALL = Wanted()
AGES = Wanted(heads=("ready",))
DOCS = ROOT / "docs" / "queues.md"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    with Moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def moto(running: Moto) -> Moto:
    running.reset()
    return running


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> "Counter[str]":
    """Counts the calls of the API of SQS."""
    counted: Counter[str] = Counter()
    call = Sqs.call

    def count(self: Sqs, method: str, **arguments: Any) -> dict[str, Any]:
        counted[method] += 1
        return call(self, method, **arguments)

    monkeypatch.setattr(Sqs, "call", count)
    return counted


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], str]:
    """AWS's errors by method and queue: moto knows no rights on single queues, and never fails."""
    codes: dict[tuple[str, str], str] = {}
    call = Sqs.call

    def answer(self: Sqs, method: str, **arguments: Any) -> dict[str, Any]:
        queue = arguments.get("QueueName") or arguments.get("QueueUrl", "").rpartition("/")[2]
        if code := codes.get((method, queue)):
            with self.translated():
                raise ClientError({"Error": {"Code": code, "Message": "no"}}, method)
        return call(self, method, **arguments)

    monkeypatch.setattr(Sqs, "call", answer)
    return codes


def make(endpoint: str, **config: Any) -> Server:
    settings = ServerConfig(f"sqs://{REGION}", endpoint_url=endpoint, **config)
    (server,) = resolve_servers({"aws": settings})
    return server


def read(server: Server, wanted: Wanted = ALL, timeout: float = 30.0) -> Reading:
    return server.system.open_reader(server, ReaderOptions(timeout)).read(wanted)


def queues(server: Server, wanted: Wanted = ALL) -> dict[str, QueueState]:
    return dict(read(server, wanted).queues or {})


# -- the numbers


def test_the_numbers_are_those_of_sqs(moto: Moto) -> None:
    url = moto.create("orders", "a", "b", "c")
    sqs = moto.client()
    sqs.send_message(QueueUrl=url, MessageBody="later", DelaySeconds=600)
    sqs.receive_message(QueueUrl=url)
    moto.create("mail.fifo", FifoQueue="true")
    reading = read(make(moto.url))
    assert reading.server
    assert reading.server.queues == 2
    assert reading.queues
    assert reading.queues["orders"] == QueueState(
        "orders", 2, 1, 1, 0, native={"MessageRetentionPeriod": 345600}
    )
    assert reading.queues["mail.fifo"][1:5] == (0, 0, 0, 0)
    assert reading.received_at.keys() == {"orders", "mail.fifo"}
    assert reading.queues["orders"].consumers is None


def test_dead_letters_count_for_their_only_source(moto: Moto, calls: "Counter[str]") -> None:
    moto.create("dead", "x", "y")
    moto.create("orders", dead_letters="dead")
    found = queues(make(moto.url))
    assert (found["orders"].buried, found["dead"].buried) == (2, 0)
    assert (found["dead"].ready, found["dead"].is_dead_letter) == (2, True)
    assert not found["orders"].is_dead_letter
    assert calls == {
        "list_queues": 1,
        "get_queue_attributes": 2,
        "list_dead_letter_source_queues": 1,
    }
    # The source alone, and a second source that nobody reads.
    server = make(moto.url, queues=("orders",))
    assert queues(server, Wanted(names=["orders"]))["orders"].buried == 2
    moto.create("mail", dead_letters="dead")
    assert queues(server)["orders"].buried is None


def test_a_dead_letter_queue_that_is_read_alone_is_known_as_one(
    moto: Moto, calls: "Counter[str]", refused: dict[tuple[str, str], str]
) -> None:
    moto.create("dead", "x")
    moto.create("orders", "a", dead_letters="dead")
    server = make(moto.url)

    def is_dead_letter(*names: str) -> list[bool]:
        calls.clear()
        found = queues(server, Wanted(server=False, names=names))
        return [found[name].is_dead_letter for name in names]

    assert is_dead_letter("dead") == [True]
    assert calls["list_dead_letter_source_queues"] == 1
    assert is_dead_letter("orders") == [False]
    assert is_dead_letter("dead", "orders") == [True, False]
    # Without the right, nobody knows; it must not be a failure.
    refused["list_dead_letter_source_queues", "dead"] = "AccessDenied"
    reading = read(server, Wanted(server=False, names=["dead"]))
    assert reading.implausible == []
    assert (reading.queues or {})["dead"][1:5] == (1, 0, 0, 0)
    assert not (reading.queues or {})["dead"].is_dead_letter
    # If AWS fails, the limits for waiting jobs must not judge what may be dead letters.
    refused["list_dead_letter_source_queues", "dead"] = "InternalError"
    reading = read(server, Wanted(server=False, names=["dead"]))
    assert reading.queues == {"dead": QueueState("dead")}
    assert reading.implausible == [cannot_be_read("dead", "InternalError")]


def test_a_dead_letter_queue_that_is_gone_is_told(moto: Moto) -> None:
    url = moto.create("dead")
    moto.create("orders", dead_letters="dead")
    moto.client().delete_queue(QueueUrl=url)
    reading = read(make(moto.url))
    assert (reading.queues or {})["orders"].buried is None
    assert reading.implausible == ["orders: its dead-letter queue dead does not exist"]


def test_ages_and_rates_are_cloudwatchs(moto: Moto) -> None:
    for name in ("orders", "idle", "new"):
        moto.create(name, *(["x"] if name != "idle" else []))
    moto.put_metric("orders", "ApproximateAgeOfOldestMessage", 300, age=240)
    moto.put_metric("orders", "ApproximateAgeOfOldestMessage", 420, age=120)
    moto.put_metric("orders", "NumberOfMessagesSent", 7)
    moto.put_metric("idle", "ApproximateAgeOfOldestMessage", 9, age=3000)
    reading = read(make(moto.url, cloudwatch=True), AGES)
    found = dict(reading.queues or {})
    assert found["orders"].head_ready_age == 420
    assert found["orders"].native["NumberOfMessagesSent"] == 7
    assert "NumberOfMessagesDeleted" not in found["orders"].native
    assert found["idle"].head_ready_age == 0
    assert found["new"].head_ready_age is None
    assert (reading.unread_heads, reading.trouble) == (frozenset(), "")


def test_cloudwatch_is_asked_once_a_minute_and_for_many_queues_at_once() -> None:
    now = [1000.0]
    server = make("http://127.0.0.1:1", cloudwatch=True)
    metrics = cloudwatch.CloudWatch(Sqs(server, 5.0), lambda: now[0])
    metrics._client = client = CountingCloudWatch()
    names = [f"q{number}" for number in range(170)]
    assert metrics.read(names)["q3"][cloudwatch.AGE] == 5
    assert client.sizes == [500, 10]
    metrics.read(names[:5])
    now[0] += 59
    metrics.read(names)
    assert client.sizes == [500, 10]
    now[0] += 2
    metrics.read(names)
    assert client.sizes == [500, 10] * 2


class CountingCloudWatch:
    """A client of CloudWatch that answers 5 to each query."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def get_metric_data(self, **arguments: Any) -> dict[str, Any]:
        queries = arguments["MetricDataQueries"]
        self.sizes.append(len(queries))
        return {"MetricDataResults": [{"Id": one["Id"], "Values": [5.0, 1.0]} for one in queries]}


def test_without_cloudwatch_no_age_is_known(moto: Moto) -> None:
    moto.create("orders", "x")
    moto.create("idle")
    server = make(moto.url)
    reading = read(server, AGES)
    assert {queue.head_ready_age for queue in (reading.queues or {}).values()} == {None}
    assert reading.trouble == ""
    assert not server.can_tell("head_ready_age")
    assert server.why_unknown("head_ready_age") == "it needs the setting cloudwatch of this server"
    assert make(moto.url, cloudwatch=True).can_tell("head_ready_age")


# -- which queues, and what they cost


def test_a_poll_costs_a_call_each_queue_and_each_page(
    moto: Moto, calls: "Counter[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "MAX_PAGE", 10)  # AWS's is 1,000
    for number in range(25):
        moto.create(f"q{number}")
    assert len(queues(make(moto.url))) == 25
    assert calls == {"list_queues": 3, "get_queue_attributes": 25}
    calls.clear()
    assert len(queues(make(moto.url, queues=("q2*", "q5", "none")))) == 7
    assert calls == {"list_queues": 1, "get_queue_url": 2, "get_queue_attributes": 7}
    calls.clear()
    named = Wanted(server=False, names=["q1", "none", "not a name", "x" * 255, "grüße", "a/b"])
    assert list(queues(make(moto.url), named)) == ["q1"]
    assert calls == {
        "get_queue_url": 2,
        "get_queue_attributes": 1,
        "list_dead_letter_source_queues": 1,
    }
    calls.clear()
    only_server = read(make(moto.url), Wanted(names=()))
    assert only_server.server
    assert (only_server.server.queues, only_server.queues) == (25, {})
    assert calls == {"list_queues": 3}


def test_only_the_wanted_queues_are_read(moto: Moto) -> None:
    for name in "abc":
        moto.create(name)
    reading = read(make(moto.url), Wanted(choose=lambda names: Chosen(["a"], ["c"])))
    assert list(reading.queues or ()) == ["a", "c"]
    assert reading.chosen == Chosen(["a"], ["c"])
    assert queues(make(moto.url, queues=("b",)), Wanted(names=["a"])) == {}


def test_a_queue_that_vanishes_is_left_out(moto: Moto) -> None:
    url = moto.create("a")
    moto.create("b")

    def choose(names: Any) -> Chosen:
        moto.client().delete_queue(QueueUrl=url)
        return Chosen(names)

    assert list(queues(make(moto.url), Wanted(choose=choose))) == ["b"]


def test_a_server_that_was_restarted_is_read_again(tmp_path: Path) -> None:
    with Moto(tmp_path / "moto") as moto:
        moto.create("orders")
        server = make(moto.url)
        reader = server.system.open_reader(server, ReaderOptions(30.0, is_lasting=True))
        assert list(reader.read(ALL).queues or ()) == ["orders"]
        moto.kill()
        with pytest.raises(ServerError, match="cannot connect"):
            reader.read(ALL)
        moto.start()
        assert reader.read(ALL).queues == {}


# -- faults


def test_without_credentials_one_line_says_so(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    with pytest.raises(ServerError) as failure:
        read(make(moto.url))
    assert str(failure.value) == f"sqs://{REGION}: Unable to locate credentials"


def test_wrong_credentials_are_told_and_never_shown(moto: Moto) -> None:
    moto.check_rights()
    with pytest.raises(ServerError) as failure:
        read(make(moto.url))
    assert str(failure.value).startswith(f"sqs://{REGION}: AWS answered ")
    assert "InvalidClientTokenId" in str(failure.value)
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in str(failure.value)


def test_without_the_package_the_message_names_the_extra(
    moto: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "botocore.config", None)
    with pytest.raises(ServerError, match=re.escape(install_command("sqs"))):
        read(make(moto.url))


def test_the_documented_rights_suffice(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    policies = [
        json.loads(part.partition("```")[0])
        for part in DOCS.read_text().split("```json\n")[1:]
        if "sqs:" in part.partition("```")[0]
    ]
    moto.create("dead", "x")
    moto.create("orders", "a", dead_letters="dead")
    moto.put_metric("orders", "ApproximateAgeOfOldestMessage", 42)
    # moto calls this right `monitoring:GetMetricData`; AWS calls it as the page does.
    policy = json.loads(json.dumps(policies[0]).replace("cloudwatch:", "monitoring:"))
    keys = moto.create_user(policy["Statement"])
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    moto.check_rights()
    server = make(moto.url, cloudwatch=True)
    reading = read(server, AGES)
    assert (reading.trouble, reading.implausible) == ("", [])
    assert (reading.queues or {})["orders"].head_ready_age == 42
    assert (reading.queues or {})["orders"].buried == 1
    with pytest.raises(ServerError, match="AccessDenied"):
        server.system.open_actions(server, 30.0).peek("dead", "ready")


def cannot_be_read(name: str, code: str) -> str:
    return f"{name}: cannot be read: sqs://{REGION}: AWS answered {code}: no"


def test_one_queue_that_fails_takes_no_other_away(
    moto: Moto, refused: dict[tuple[str, str], str]
) -> None:
    moto.create("orders", "a")
    moto.create("locked", "b")
    for name in ("orders", "locked"):
        moto.put_metric(name, "ApproximateAgeOfOldestMessage", 42)
    refused["get_queue_attributes", "locked"] = "AccessDenied"
    server = make(moto.url, cloudwatch=True)
    for wanted in (AGES, Wanted(names=["orders", "locked"], heads=("ready",))):
        reading = read(server, wanted)
        assert reading.trouble == ""
        assert reading.queues
        assert (reading.queues["orders"].ready, reading.queues["orders"].head_ready_age) == (1, 42)
        assert reading.queues["locked"] == QueueState("locked")
        assert reading.implausible == [cannot_be_read("locked", "AccessDenied")]
        assert reading.received_at.keys() == {"orders"}
    assert reading.server
    # If all fail, nothing is known of the queues.
    refused["get_queue_attributes", "orders"] = "InternalError"
    reading = read(server)
    assert (reading.queues, reading.implausible) == (None, ())
    assert reading.trouble.startswith(f"cannot read the queues: sqs://{REGION}: AWS answered ")
    with pytest.raises(ServerError, match="AWS answered AccessDenied: no"):
        read(server, Wanted(server=False, names=["locked"]))


def test_one_queue_whose_url_is_refused_takes_no_other_away(
    moto: Moto, refused: dict[tuple[str, str], str]
) -> None:
    moto.create("orders", "a")
    moto.create("locked", "b")
    refused["get_queue_url", "locked"] = "AccessDenied"
    server = make(moto.url, queues=("orders", "locked"))
    told = [cannot_be_read("locked", "AccessDenied")]
    reading = read(server)
    assert reading.queues
    assert (reading.queues["orders"].ready, reading.queues["locked"]) == (1, QueueState("locked"))
    assert (reading.trouble, reading.implausible) == ("", told)
    assert reading.server
    assert reading.server.queues is None  # it may not exist
    reading = read(server, Wanted(names=()))
    assert (reading.queues, reading.implausible) == ({}, told)
    reading = read(server, Wanted(choose=lambda names: Chosen(sorted(names)[1:])))
    assert (list(reading.queues or ()), reading.implausible) == (["orders"], [])
    # A glob finds it by the list of queues.
    reading = read(make(moto.url, queues=("l*", "locked")))
    assert ((reading.queues or {})["locked"].ready, reading.implausible) == (1, [])
    reading = read(make(moto.url, queues=("o*", "locked")))
    assert ((reading.queues or {})["orders"].ready, reading.implausible) == (1, told)
    refused["get_queue_url", "orders"] = "AccessDenied"
    for wanted in (ALL, Wanted(names=()), Wanted(names=["locked"])):
        with pytest.raises(ServerError, match="AWS answered AccessDenied: no"):
            read(server, wanted)


def test_a_dead_letter_queue_is_known_although_its_source_cannot_be_read(
    moto: Moto, calls: "Counter[str]", refused: dict[tuple[str, str], str]
) -> None:
    moto.create("dead", "x")
    moto.create("orders", dead_letters="dead")
    moto.create("mail")
    refused["get_queue_attributes", "orders"] = "InternalError"
    found = queues(make(moto.url))
    assert {name: queue.is_dead_letter for name, queue in found.items()} == {
        "dead": True,
        "orders": False,
        "mail": False,
    }
    assert calls["list_dead_letter_source_queues"] == 2


def test_a_reader_tries_twice_and_an_action_once() -> None:
    with BusyAws() as aws:
        server = make(aws.url)
        reading = read(server, Wanted(names=()))
        assert reading.server
        assert (reading.server.queues, aws.requests) == (0, 2)
        aws.requests = 0
        with pytest.raises(ServerError, match="AWS answered"):
            server.system.open_actions(server, 30.0).peek("orders", "ready")
        assert aws.requests == 1  # a message that is sent twice is there twice


class BusyAws:
    """A server that answers each first request with an error 503, and then with an empty list."""

    def __init__(self) -> None:
        self.requests = 0
        aws = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                aws.requests += 1
                self.send_response(503 if aws.requests == 1 else 200)
                self.send_header("Content-Type", "application/x-amz-json-1.0")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "BusyAws":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n{"])
def test_a_server_that_hangs_or_drips_costs_no_more_than_the_timeout(start: bytes) -> None:
    with Drip(start) as drip:
        server = make(f"http://{drip.address}")
        reader = server.system.open_reader(server, ReaderOptions(5.0))
        with pytest.raises(ServerError, match="no answer"):
            reader.read(ALL, 1.0)  # imports botocore
        started = time.monotonic()
        with pytest.raises(ServerError, match=rf"^sqs://{REGION}: no answer within"):
            reader.read(ALL, 1.0)
        assert time.monotonic() - started < 4


def test_an_absent_server_is_named() -> None:
    with pytest.raises(ServerError, match=rf"^sqs://{REGION}: cannot connect"):
        read(make(f"http://127.0.0.1:{closed_port()}"))


def test_another_server_is_not_taken_for_sqs() -> None:
    with IronMq() as other:
        other.lies["/"] = b"<html>hello</html>"
        with pytest.raises(ProtocolError, match=rf"^sqs://{REGION}: this is not SQS"):
            read(make(f"http://{other.address}"))


def speaks_json() -> bool:
    """Return True unless this botocore is so old that it speaks to SQS in XML."""
    model = botocore.loaders.Loader().load_service_model("sqs", "service-2")
    return bool(model["metadata"]["protocol"] == "json")


@pytest.mark.skipif(not speaks_json(), reason="this botocore speaks to SQS in XML")
def test_an_answer_that_cannot_be_right_is_not_believed() -> None:
    with IronMq() as other:
        other.lies["/"] = b'{"NextToken": "again"}'
        other.headers["Content-Type"] = "application/x-amz-json-1.0"
        with pytest.raises(ProtocolError, match="its list of queues does not end"):
            read(make(f"http://{other.address}"))
        other.lies["/"] = b'{"QueueUrls": ["http://h/1/orders"]}'
        reading = read(make(f"http://{other.address}"))
    assert (reading.queues or {})["orders"].ready is None
    assert reading.implausible[0] == (
        "orders: ApproximateNumberOfMessages is None, which is not a count"
    )


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    reply=st.binary(max_size=60)
    | st.dictionaries(
        st.sampled_from(["QueueUrls", "NextToken", "Attributes", "__type", "message"]),
        st.none() | st.integers() | st.text(max_size=9) | st.lists(st.text(max_size=9), max_size=2),
    ).map(lambda tree: json.dumps(tree).encode())
)
def test_no_reply_is_more_than_a_server_error(nonsense: IronMq, reply: bytes) -> None:
    nonsense.lies["/"] = reply
    try:
        reading = nonsense_reader(nonsense.address).read(ALL, 20.0)
    except ServerError as error:
        assert "\n" not in str(error)
    else:
        assert all((queue.ready or 0) >= 0 for queue in (reading.queues or {}).values())


@pytest.fixture
def nonsense() -> Iterator[IronMq]:
    """Any server that speaks HTTP, and pretends to send replies of AWS."""
    with IronMq() as other:
        other.headers["Content-Type"] = "application/x-amz-json-1.0"
        yield other


@cache
def nonsense_reader(address: str) -> Reader:
    """A reader of this address: opening one takes longer than a reading."""
    server = make(f"http://{address}")
    return server.system.open_reader(server, ReaderOptions(20.0))


@given(
    st.dictionaries(
        st.sampled_from(["ApproximateNumberOfMessages", "RedrivePolicy", "MessageRetentionPeriod"]),
        st.text(max_size=30)
        | st.integers(-5, 10**30).map(str)
        | st.just('{"deadLetterTargetArn": 1}'),
    )
)
def test_no_attributes_are_more_than_unknown(attributes: dict[str, str]) -> None:
    found: list[str] = []
    state = to_queue("q", attributes, {"1": DeadLetterCount(3)}, found)
    assert state.ready is None or state.ready >= 0
    assert (state.ready is None) == any("ApproximateNumberOfMessages " in text for text in found)
    assert state.buried in ((0,) if "RedrivePolicy" not in attributes else (None, 3))


@pytest.mark.parametrize("url", ["sqs://", "sqs://me@eu-west-1", "sqs://eu-west-1/q", "sqs://h:9"])
def test_a_url_that_is_no_region_is_refused(url: str) -> None:
    with pytest.raises(AddressError):
        resolve_servers({"aws": ServerConfig(url)})


def test_an_endpoint_that_is_no_url_is_refused() -> None:
    with pytest.raises(AddressError, match=r"servers.aws: endpoint_url: expected http"):
        make("localhost:4566")


# -- actions, and the entry points


def test_actions_on_the_messages(moto: Moto) -> None:
    dead = moto.create("dead", *(f"d{number}" for number in range(25)))
    orders = moto.create("orders", dead_letters="dead")
    server = make(moto.url)
    actions = server.system.open_actions(server, 30.0)
    job = actions.peek("orders", "buried")
    assert job
    assert (job.queue, job.state, job.body, job.attempts) == ("orders", "buried", b"d0", 0)
    assert job.age is not None
    assert 0 <= job.age < 100
    assert actions.peek("orders", "delayed") is None
    bodies = [job.body for job in actions.list_jobs("orders", "buried", 12)]
    assert bodies == [f"d{number}".encode() for number in range(12)]
    assert queues(server)["dead"].ready == 25  # all are visible again
    with pytest.raises(UnsupportedError, match="would count as an attempt"):
        actions.peek("orders", "ready")

    assert sum(actions.kick("orders", 12)) == 12
    assert (queues(server)["orders"].ready, queues(server)["orders"].buried) == (12, 13)
    assert sum(actions.empty("orders", "buried", 3)) == 3
    assert queues(server)["orders"].buried == 10
    moto.client().receive_message(QueueUrl=orders)
    assert sum(actions.empty("orders", "ready", 100)) == 11
    assert queues(server)["orders"][1:3] == (0, 1)  # a reserved message stays
    with pytest.raises(UnsupportedError, match="delayed messages of orders"):
        list(actions.empty("orders", "delayed", 1))
    with pytest.raises(UnsupportedError, match="dead has no dead-letter queue"):
        list(actions.kick("dead", 1))
    with pytest.raises(ServerError, match="there is no queue 'none'"):
        actions.peek("none", "ready")
    moto.create("mail", dead_letters="dead")
    with pytest.raises(UnsupportedError, match="dead has dead letters of several queues"):
        list(actions.kick("orders", 1))
    assert dead


def test_a_kicked_message_keeps_its_attributes_and_its_group(moto: Moto) -> None:
    dead = moto.create("dead.fifo", FifoQueue="true")
    orders = moto.create("orders.fifo", dead_letters="dead.fifo", FifoQueue="true")
    sqs = moto.client()
    sqs.send_message(
        QueueUrl=dead,
        MessageBody="lost",
        MessageGroupId="g",
        MessageDeduplicationId="once",
        MessageAttributes={"kind": {"DataType": "String", "StringValue": "mail"}},
    )
    server = make(moto.url)
    assert sum(server.system.open_actions(server, 30.0).kick("orders.fifo", 5)) == 1
    (message,) = sqs.receive_message(
        QueueUrl=orders, AttributeNames=["All"], MessageAttributeNames=["All"]
    )["Messages"]
    assert message["Body"] == "lost"
    assert message["Attributes"]["MessageGroupId"] == "g"
    assert message["MessageAttributes"]["kind"]["StringValue"] == "mail"
    assert queues(server)["dead.fifo"].ready == 0


def test_the_commands_and_checks_know_sqs(moto: Moto, tmp_path: Path, run: Any) -> None:
    moto.create("dead", "lost")
    moto.create("orders", "hello", dead_letters="dead")
    config = tmp_path / "beanwatch.toml"
    config.write_text(f'[servers.aws]\nurl = "sqs://{REGION}"\nendpoint_url = "{moto.url}"\n')
    named = ("--config", config)

    done = run("beanwatch", "queues", "list", "--json", *named)
    assert done.code == 0, done.stderr
    rows = {row["queue"]: row for row in json.loads(done.stdout)}
    assert (rows["orders"]["ready"], rows["orders"]["buried"]) == (1, 1)
    assert rows["orders"]["consumers"] is None
    peeked = run("beanwatch", "queues", "peek", "orders", *named)
    assert (peeked.code, "lost" in peeked.stdout, "hello" in peeked.stdout) == (0, True, False)
    assert "consumers                n/a" in run("beanwatch", "queues", "show", "*", *named).stdout

    wait = ("-t", "60", *named)
    code, out, _ = run("check_queue_depth", "-Q", "orders", "-c", "0", *wait, timeout=90)
    assert (code, "1 job ready" in out) == (2, True)
    code, out, _ = run("check_queue_buried", "-Q", "orders", *wait, timeout=90)
    assert (code, "1 job buried" in out) == (1, True)
    code, out, _ = run("check_queue_server", *wait, timeout=90)
    assert code == 0, out
    code, out, _ = run("check_queue_age", "-Q", "orders", *wait, timeout=90)
    assert (code, "it needs the setting cloudwatch of this server" in out) == (3, True)
    assert "age of" not in install(run, tmp_path, config)
    text = config.read_text()
    config.write_text(f"{text}cloudwatch = true\n")
    assert "age of orders" in install(run, tmp_path, config)
    config.write_text(text)
    # Consumers are not declared: unknown everywhere, and nowhere 0.
    code, out, _ = run("check_queue_consumers", "-Q", "orders", *named)
    assert code == 3
    assert "sqs does not report the number of consumers" in out
    done = run("beanwatch", "collect", "--once", "--graphite", "-", *named)
    assert done.code == 0, done.stderr
    assert ".aws.orders.ready 1 " in done.stdout
    assert ".aws.orders.consumers" not in done.stdout
    assert ".aws.orders.head_ready_age" not in done.stdout

    assert run("beanwatch", "queues", "kick", "orders", "--yes", *named).code == 0
    assert queues(make(moto.url))["orders"][1:5] == (2, 0, 0, 0)
    assert run("beanwatch", "queues", "empty", "orders", "--yes", *named).code == 0
    assert queues(make(moto.url))["orders"][1:5] == (0, 0, 0, 0)


def install(run: Any, directory: Path, config: Path) -> str:
    """The services that Nagios gets."""
    dest = ("--dest", directory / "root", "--family", "debian")
    done = run("beanwatch", "install", "nagios", "--discover", *dest, "--config", config)
    assert done.code == 0, done.stderr
    return str((directory / "root/etc/nagios4/conf.d/beanwatch-services.cfg").read_text())
