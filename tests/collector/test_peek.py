"""What peek tells of buried jobs: why they are, as far as the workers recorded it."""

import json

from beanwatch.store.ledger import buried_key
from tests.collector.test_queues_command import Run, fill
from tests.real import Beanstalkd, Redis, closed_port


def test_peek_counts_the_reasons_of_what_is_buried_now(
    beanstalkd: Beanstalkd, redis_server: Redis, run: Run
):
    ids = fill(beanstalkd, "t", buried=5)
    life = str(beanstalkd.stats()["id"])
    with redis_server.client() as client:
        reasons = ["refused", "no such file", "refused", "refused\x1b[31m"]
        for job_id, reason in zip([*ids[:4], 99_999], [*reasons, "gone"], strict=True):
            entry = json.dumps({"job_id": job_id, "job": "email.send", "reason": reason})
            client.zadd(buried_key(life, "t"), {entry: job_id})
    argv = ("beanwatch", "queues", "peek", "t", "--server", beanstalkd.address)
    code, shown, stderr = run(*argv, "--redis", redis_server.url)
    assert (code, stderr) == (0, "")
    assert [line for line in shown.splitlines() if "buried because" in line] == [
        f"  buried because: email.send: refused (2 jobs, the last is {ids[2]})",
        f"  buried because: email.send: no such file (1 job, the last is {ids[1]})",
        f"  buried because: email.send: refused\\x1b[31m (1 job, the last is {ids[3]})",
    ]
    (head,) = json.loads(run(*argv, "--redis", redis_server.url, "--json").stdout)
    assert [reason["jobs"] for reason in head["reasons"]] == [2, 1, 1]


def test_without_the_ledger_peek_shows_the_jobs_all_the_same(beanstalkd: Beanstalkd, run: Run):
    fill(beanstalkd, "t", buried=1)
    argv = ("beanwatch", "queues", "peek", "t", "--server", beanstalkd.address)
    assert run(*argv).stderr == ""
    code, shown, stderr = run(*argv, "--redis", f"redis://127.0.0.1:{closed_port()}")
    assert code == 0
    assert "first buried job" in shown
    assert stderr.startswith("beanwatch: cannot show why jobs were buried: redis")
