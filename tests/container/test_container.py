"""The image of the docs runs as their Deployment says: without root, on a read-only root."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.container.image import IMAGE, Image, parse
from tests.container.page import read_containerfile, read_pod
from tests.container.pod import Pod
from tests.real import Beanstalkd, Redis, wait_until

pytestmark = pytest.mark.container


class At(Beanstalkd):
    """A beanstalkd on its usual port."""

    def choose_ports(self) -> None:
        self.port = 11300


class RedisAt(Redis):
    """A Redis on its usual port."""

    def choose_ports(self) -> None:
        self.port = 6379


@pytest.fixture(scope="module")
def image() -> Image:
    return Image(IMAGE, parse(read_containerfile()))


@pytest.fixture(scope="module")
def beanstalkd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beanstalkd]:
    with At(tmp_path_factory.mktemp("beanstalkd")) as server:
        yield server


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with RedisAt(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def pod(image: Image, beanstalkd: Beanstalkd, redis: Redis, tmp_path: Path) -> Iterator[Pod]:
    with make_pod(image, tmp_path) as pod:
        pod.wait_for_start()
        yield pod


def make_pod(image: Image, directory: Path, **changes: Any) -> Pod:
    spec = read_pod("mailer")
    spec["containers"][0] |= changes
    return Pod(image, spec, "mailer-7f9c-x2x4z", directory / "pod.log")


def put(beanstalkd: Beanstalkd, job: str, **data: Any) -> None:
    with beanstalkd.client(use="email.regular") as client:
        client.put(json.dumps({"job": job, "data": data}), ttr=60)


def test_it_has_no_rights_and_can_write_only_into_its_volume(pod: Pod) -> None:
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pod.pid}/status").read_text().splitlines()
    )
    assert status["Uid"].split() == ["65534"] * 4
    assert status["NSpid"].split()[-1] == "1"
    assert (int(status["CapEff"], 16), int(status["CapBnd"], 16)) == (0, 0)
    assert status["NoNewPrivs"] == "1"
    for path, is_writable in (("/srv/shop/x", False), ("/var/x", False), ("/tmp/x", True)):
        done = pod.run(["touch", path])
        assert (done.returncode == 0) == is_writable, done
    limit = pod.container["resources"]["limits"]["memory"]
    assert limit.endswith("Mi")
    assert int(status["VmHWM"].split()[0]) < int(limit.removesuffix("Mi")) * 1024


def test_each_probe_of_the_deployment_says_what_is_so(pod: Pod, beanstalkd: Beanstalkd) -> None:
    wait_until(lambda: pod.probe("readiness")[0], 10, "readiness")
    assert pod.probe("liveness")[0], pod.probe("liveness")
    # A broker that is away: not ready, and alive
    beanstalkd.stop()
    try:
        wait_until(lambda: not pod.probe("readiness")[0], 20, "no readiness")
        assert pod.probe("liveness")[0], pod.probe("liveness")
    finally:
        beanstalkd.start()
    wait_until(lambda: pod.probe("readiness")[0], 60, "readiness")


def test_it_runs_a_job_and_tells_prometheus(pod: Pod, beanstalkd: Beanstalkd) -> None:
    put(beanstalkd, "email.send", to="a@example.org")
    wanted = 'beanwatch_job_runs_total{server="beanstalkd",queue="email.regular",job="email.send"'
    wait_until(lambda: f'{wanted},outcome="ok"}} 1\n' in pod.get("/metrics")[1], 20, "the run")
    lines = [json.loads(line) for line in pod.log.read_text().splitlines() if line[:1] == "{"]
    assert "mail to a@example.org" in [line["message"] for line in lines]
    assert f'worker="{pod.name}.mailer"' in pod.get("/metrics")[1]


def test_the_collector_runs_from_the_same_image(
    image: Image, beanstalkd: Beanstalkd, redis: Redis, tmp_path: Path
) -> None:
    spec = read_pod("beanwatch-collector")
    with Pod(image, spec, "beanwatch-collector-5d8b", tmp_path / "pod.log") as pod:
        wait_until(lambda: pod.probe("readiness")[0], 30, "readiness")
        assert pod.probe("liveness")[0]
        up = 'beanwatch_server_up{system="beanstalkd",server="beanstalkd"} 1\n'
        assert up in pod.get("/metrics")[1]
        code, _ = pod.stop()
    assert code == 0, pod.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_ends_it_after_its_job(
    image: Image, beanstalkd: Beanstalkd, redis: Redis, tmp_path: Path, number: signal.Signals
) -> None:
    program = ["beanwatch", "worker", "beanwatch.worker.example:app"]
    with make_pod(image, tmp_path, command=program) as pod:
        pod.wait_for_start()
        put(beanstalkd, "email.send", seconds=2)
        wait_until(lambda: beanstalkd.stats()["current-jobs-reserved"] == 1, 20, "a running job")
        code, seconds = pod.stop(number)
    assert code == 0, pod.log.read_text()
    assert seconds > 0.5
    stats = beanstalkd.stats()
    assert (stats["current-jobs-reserved"], stats["current-jobs-ready"]) == (0, 0)
    assert '"email.send ok"' in pod.log.read_text()
