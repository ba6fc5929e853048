"""A live page on a real beanstalkd and a real Redis, read when the test says so."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from beanwatch.config import Config, RedisConfig, ServerConfig
from beanwatch.net.redis_url import open_redis, parse_redis_url
from beanwatch.queues.servers import resolve_servers
from beanwatch.store.failures import FailureDetail, add_command, failure_id, hash_traceback
from beanwatch.store.heartbeats import WORKERS_KEY, encode_heartbeat, worker_key
from beanwatch.web.access import Rules
from beanwatch.web.app import make_app
from beanwatch.web.parts import PartReader
from beanwatch.web.snapshot import SnapshotReader
from tests.real import Beanstalkd, Redis
from tests.records import make_beat

OURS = {"origin": "http://127.0.0.1", "sec-fetch-site": "same-origin"}


class Fleet:
    """A beanstalkd, a Redis, and pages that show them."""

    def __init__(self, beanstalkd: Beanstalkd, redis: Redis) -> None:
        self.beanstalkd, self.redis = beanstalkd, redis
        self.servers = {"q1": ServerConfig(beanstalkd.address)}
        self.config = Config(
            servers=self.servers,
            redis=RedisConfig(redis.url),
            given=frozenset({"redis.url"}),
        )._replace(graphite=Config().graphite._replace(url=""))

    def put(self, queue: str, body: str = "{}", **options: Any) -> int:
        with self.beanstalkd.client(use=queue) as client:
            return int(client.put(body, **options))

    def bury(self, queue: str, body: str = "{}") -> int:
        """Put a job and bury it."""
        self.put(queue, body)
        with self.beanstalkd.client(watch=[queue]) as client:
            job = client.reserve(timeout=5)
            client.bury(job)
            return int(job.id)

    def beat(self, worker: str, **fields: Any) -> None:
        """Write the record of a worker, as it does itself."""
        now = float(self.redis.client().time()[0])
        age = fields.pop("age", 0)  # of the heartbeat, in seconds
        host, _, name = worker.rpartition(".")
        given = {"beat_at": now, "loop_at": now, "started_at": now - 100, "state": "idle"}
        record = make_beat(
            **{"instance": "0" * 16, "host": host, "name": name, "pid": 1, **given, **fields}
        )
        client = self.redis.client(decode_responses=False)
        client.set(worker_key(worker), encode_heartbeat(record))
        client.zadd(WORKERS_KEY, {worker: now - age})

    def lose_record(self, worker: str, age: float, left: bytes | None = None) -> None:
        """Let a worker have no record that can be read; `left` is what is there instead."""
        self.beat(worker, age=age)
        client = self.redis.client()
        client.delete(worker_key(worker))
        if left is not None:
            client.set(worker_key(worker), left)

    def fail(self, job_id: str = "1", body: bytes = b"{}", **fields: Any) -> str:
        """Record a failed run; return its id."""
        entry = {
            "worker": "web1.a",
            "server": self.beanstalkd.stats()["id"],
            "address": self.beanstalkd.address,
            "queue": "email",
            "job": "email.send",
            "job_id": job_id,
            "attempt": 1,
            "outcome": "buried",
            "reason": "connection refused",
            "started_at": 1e9,
            "body_size": len(body),
            **fields,
        }
        trace = fields.pop("traceback", "Traceback (most recent call last):\nValueError: no")
        entry.pop("traceback", None)
        entry["traceback_hash"] = hash_traceback(trace)
        ident = failure_id(entry["server"], entry["queue"], job_id, entry["attempt"], 1e9)
        at = float(self.redis.client().time()[0])
        add = add_command(ident, at, json.dumps(entry).encode(), FailureDetail(body, trace))
        with open_redis(parse_redis_url(self.redis.url), 5) as client:
            client.execute([add])
        return ident

    @contextmanager
    def pages(
        self,
        rules: Rules | None = None,
        *,
        is_read: bool = True,
        find_present: Callable[[Config], Config] = lambda config: config,
        **options: Any,
    ) -> Iterator["Pages"]:
        """Serve the pages. They show what was there when they were opened, and after `read`."""
        reader = SnapshotReader(
            self.config,
            resolve_servers(self.servers),
            parse_redis_url(self.redis.url),
            timeout=5.0,
            find_present=find_present,
        )
        reader.start = lambda: None  # type: ignore[method-assign]
        app: Any = make_app(reader, rules or Rules(hosts=("127.0.0.1",)), print, **options)
        with TestClient(app, base_url="http://127.0.0.1", follow_redirects=False) as client:
            pages = Pages(client, reader, app)
            if is_read:
                pages.read()
            yield pages


class Pages:
    """The pages, as a client sees them."""

    def __init__(self, client: TestClient, reader: SnapshotReader, app: Any) -> None:
        self.client, self.reader, self.app = client, reader, app

    def read(self, *names: str) -> None:
        """Read everything again, or the parts with these names, and show it."""
        for part in self.reader.parts:
            if not names or part.name in names:
                part.read_once()
        self.show()

    def part(self, name: str) -> PartReader[Any]:
        """Return the reader of the part with this name."""
        return next(one for one in self.reader.parts if one.name == name)

    def show(self) -> None:
        """Show what was read last."""
        site = self.app._app.state.site
        assert self.client.portal is not None
        self.client.portal.call(lambda: site.publish(self.reader.snapshot()))

    def json(self, path: str, **query: Any) -> Any:
        answer = self.client.get(path, params=query or None, headers={"accept": "application/json"})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def html(self, path: str, **query: Any) -> str:
        answer = self.client.get(path, params=query or None, headers={"accept": "text/html"})
        assert answer.status_code == 200, answer.text
        return str(answer.text)


@pytest.fixture(scope="module")
def web_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with Redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def fleet(
    beanstalkd: Beanstalkd, web_redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Fleet:
    monkeypatch.setenv("BEANWATCH_STATE_DIR", str(tmp_path / "state"))
    web_redis.client().flushall()
    return Fleet(beanstalkd, web_redis)
