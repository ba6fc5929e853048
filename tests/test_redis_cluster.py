"""A real Redis Cluster of three masters: every key is on one node, which beanwatch finds."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.net.address import Address
from beanwatch.net.redis_client import RedisClient
from beanwatch.net.redis_cluster import SLOTS, find_owner, slot_of
from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import KEY_PREFIX, RedisError, parse_redis_url
from beanwatch.store.redis_state import PROBE_KEY
from beanwatch.telemetry.logging.setup import get_logger
from beanwatch.worker.monitor.sinks.redis_stream import RedisStream
from tests.operations.reference import redis_keys
from tests.real import ROOT, Beanstalkd, spawn, stop_process, wait_until
from tests.real.process import free_port
from tests.real.redis_cluster import SLOT, Node, RedisCluster
from tests.real.redis_server import SpecialRedis

Run = Callable[..., Any]
KEY = f"{KEY_PREFIX}a"
both = pytest.mark.parametrize("kind", [RedisReader, RedisClient])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with RedisCluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@both
def test_a_client_finds_the_node_that_has_the_keys(
    cluster: RedisCluster, kind: type[RedisReader | RedisClient]
) -> None:
    nodes = ",".join(f"127.0.0.1:{node.port}" for node in cluster.nodes)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        frozen = f"127.0.0.1:{silent.getsockname()[1]}"
        for hosts in (nodes, f"127.0.0.1:1,{nodes}", f"{frozen},{nodes}"):
            with kind(parse_redis_url(f"redis+cluster://{hosts}"), 3.0) as client:
                assert client.execute([("SET", KEY, "1"), ("GET", KEY)]) == [b"OK", b"1"]


@both
def test_a_url_of_one_node_says_that_it_is_one_of_a_cluster(
    cluster: RedisCluster, kind: type[RedisReader | RedisClient]
) -> None:
    other = next(node for node in cluster.nodes if node is not cluster.owner)
    with kind(parse_redis_url(other.url), 3.0) as client, pytest.raises(RedisError) as caught:
        client.execute([("GET", KEY)])
    assert str(caught.value) == (
        f"redis 127.0.0.1:{other.port}: MOVED {SLOT} 127.0.0.1:{cluster.owner.port}, this is a "
        "node of a Redis Cluster, and another node has the keys"
    )


@both
def test_a_url_of_a_cluster_needs_one(
    redis_server: Any, kind: type[RedisReader | RedisClient]
) -> None:
    url = f"redis+cluster://127.0.0.1:{redis_server.port}"
    with (
        pytest.raises(RedisError, match="cluster support disabled"),
        kind(parse_redis_url(url), 3.0) as client,
    ):
        client.execute([("GET", KEY)])


def test_the_client_of_long_running_programs_follows_the_keys(cluster: RedisCluster) -> None:
    with RedisClient(parse_redis_url(cluster.url), 3.0) as client:
        client.execute([("SET", KEY, "kept")])
        cluster.move_keys()
        with pytest.raises(RedisError, match=f"MOVED {SLOT} "):
            client.execute([("GET", KEY)])
        assert client.execute([("GET", KEY)]) == [b"kept"]


def test_what_the_worker_sends_while_the_keys_move_is_not_lost(cluster: RedisCluster) -> None:
    """Redis sends the stream no replies: neither that a command was refused with ASK."""
    stream = RedisStream(parse_redis_url(cluster.url), get_logger())

    def arrives(node: Node, key: str) -> bool:
        stream.flush()
        return bool(node.client().exists(key))

    here = cluster.owner
    there = next(node for node in cluster.nodes if node is not here)
    stream.send([("SET", f"{KEY}:before", "1")])
    wait_until(lambda: arrives(here, f"{KEY}:before"), 20)
    here.client().set(PROBE_KEY, "")  # so that Redis still takes this key
    cluster.begin_move(here, there)
    stream.send([("SET", f"{KEY}:meanwhile", "1")])
    wait_until(lambda: stream.flush() or not stream.is_connected, 20, "it notices the move")
    cluster.end_move(there)
    wait_until(lambda: arrives(there, f"{KEY}:meanwhile"), 30, "it is sent again")
    assert stream.dropped == 0
    stream.close(2.0)


def test_worker_checks_and_commands_on_a_cluster(
    cluster: RedisCluster, beanstalkd: Beanstalkd, run: Run, tmp_path: Path
) -> None:
    config = tmp_path / "beanwatch.toml"
    config.write_text(
        f'[redis]\nurl = "{cluster.url}"\n[servers]\nq = "{beanstalkd.address}"\n'
        '[workers]\nexpected = ["here.w1"]\n'
    )
    argv = ["worker", "tests.worker_core.jobs:app", "--config", str(config), "--queue", "work"]
    argv += ["--name", "w1", "--host", "here", "--ledger", "all", "--tmp-root", str(tmp_path)]
    with beanstalkd.client(use="work", encoding=None) as client:
        client.put(b'{"job": "ok", "id": "one"}')
        client.put(b'{"job": "no.such.job", "id": "two"}')
    worker = spawn([ROOT / ".venv/bin/beanwatch", *argv], log=tmp_path / "worker.log", cwd=ROOT)
    at = ("--config", config)

    def says(words: str, *argv: object) -> bool:
        code, out, err = run(*argv, *at)
        assert words in f"{code} {out}{err}", f"{code} {out}{err}"
        return True

    try:
        wait_until(lambda: says(" OK - ", "check_worker_heartbeat"), 30)
        wait_until(lambda: says('"buried"', "beanwatch", "job", "two", "--json"), 30)
        assert says(" OK - ", "check_redis")
        # A worker counts its outcomes, and sends them once a second.
        wait_until(lambda: says(" CRITICAL - ", "check_job_failures", "--least", 1), 30)
        assert says('"id": "here.w1"', "beanwatch", "workers", "list", "--json")
        assert says("no handler", "beanwatch", "queues", "peek", "work")
        cluster.move_keys()
        with beanstalkd.client(use="work", encoding=None) as client:
            client.put(b'{"job": "ok", "id": "three"}')
        wait_until(lambda: says('"ok"', "beanwatch", "job", "three", "--json"), 30)
        wait_until(lambda: says(" OK - ", "check_worker_heartbeat"), 30)
        kept = cluster.owner.client()
        assert all(slot_of(key) == SLOT for key in kept.keys("*"))
        assert sum(node.client().dbsize() for node in cluster.nodes) == kept.dbsize()
        for node in cluster.nodes:
            node.freeze()
        assert says(" UNKNOWN - redis 127.0.0.1:", "check_worker_heartbeat", "--timeout", 3)
    finally:
        for node in cluster.nodes:
            node.thaw()
        stop_process(worker)


def test_a_slot_that_no_node_serves_is_unknown_and_nobody_dead(
    cluster: RedisCluster, run: Run
) -> None:
    owner = cluster.owner
    owner.command("CLUSTER", "DELSLOTS", SLOT)
    try:
        code, out, _ = run("check_worker_heartbeat", "--redis", cluster.url)
    finally:
        owner.command("CLUSTER", "ADDSLOTS", SLOT)
    words = f"redis 127.0.0.1:{owner.port}: CLUSTERDOWN Hash slot not served"
    assert (code, words in out, "dead" in out) == (3, True, False), out


def test_tls_in_a_cluster_of_one_node(tmp_path: Path, certificate: Path) -> None:
    options = ["--port", "0", "--tls-port", "{port}", "--tls-auth-clients", "no"]
    options += ["--tls-cert-file", str(certificate), "--tls-key-file", str(certificate)]
    options += ["--tls-cluster", "yes", "--tls-ca-cert-file", str(certificate)]
    options += ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    with SpecialRedis(tmp_path / "redis", *options) as server:
        where, ca = f"127.0.0.1:{server.port}", f"ssl_ca_certs={certificate}"
        with RedisReader(parse_redis_url(f"rediss://{where}?{ca}"), 5.0) as plain:
            plain.execute([("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)])
            wait_until(lambda: b"cluster_state:ok" in plain.execute([("CLUSTER", "INFO")])[0], 10)
        for kind in (RedisReader, RedisClient):
            with kind(parse_redis_url(f"rediss+cluster://{where}?{ca}"), 5.0) as client:
                assert client.execute([("SET", KEY, "1")]) == [b"OK"]
            with pytest.raises(RedisError, match="certificate"):
                kind(parse_redis_url(f"rediss+cluster://{where}"), 5.0).execute([("GET", KEY)])


def test_every_documented_key_is_in_the_same_slot() -> None:
    keys = [line.split("`")[1] for line in redis_keys().splitlines() if line.startswith("| `")]
    assert len(keys) >= 15
    assert {slot_of(key) for key in keys} == {SLOT}


def test_a_key_has_the_slot_that_redis_says(cluster: RedisCluster) -> None:
    client = cluster.nodes[0].client()
    keys = st.text(st.sampled_from("{}ab:é \n"), max_size=8)

    @given(st.lists(keys, min_size=20, max_size=20))
    def agree(some: list[str]) -> None:
        pipe = client.pipeline(transaction=False)
        for key in some:
            pipe.execute_command("CLUSTER", "KEYSLOT", key)
        assert pipe.execute() == [slot_of(key) for key in some]

    agree()


scalars = st.none() | st.integers() | st.binary(max_size=5) | st.just(b"127.0.0.1")
replies = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4), max_leaves=12)


@given(replies)
def test_a_false_node_gets_one_line(reply: object) -> None:
    try:
        assert isinstance(find_owner(reply, Address("a", 1)), Address)
    except RedisError as error:
        assert str(error).startswith("redis a:1: ")


def test_a_slot_that_no_node_lists_is_named() -> None:
    with pytest.raises(RedisError, match=f"no node of the cluster has slot {SLOT}"):
        find_owner([[0, SLOT - 1, [b"10.0.0.1", 7000, b"id"]]], Address("a", 1))


def test_a_cluster_that_names_no_port_for_tls_says_what_it_needs() -> None:
    with pytest.raises(RedisError, match="its nodes need `tls-cluster yes`"):
        find_owner([[0, SLOTS - 1, [b"10.0.0.1", 0, b"id"]]], Address("a", 1))


def test_a_node_that_does_not_know_its_own_host_is_the_one_that_was_asked() -> None:
    for unknown in (None, b"", b"?"):
        slots = [[0, 16383, [unknown, 7000, b"id"]]]
        assert find_owner(slots, Address("10.0.0.1", 6379)) == Address("10.0.0.1", 7000)


def test_the_urls_of_clusters() -> None:
    url = parse_redis_url("rediss+cluster://u:p@a,b:7000?ssl_ca_certs=/ca.pem")
    assert url.nodes == (Address("a", 6379), Address("b", 7000))
    assert (url.username, url.password, url.tls, url.ca_file) == ("u", "p", True, "/ca.pem")
    assert url.name == "a:6379,b:7000"
    with pytest.raises(ValueError, match="a Redis Cluster has only database 0: remove /1"):
        parse_redis_url("redis+cluster://a/1")
    for hosts in ("", "a,,b", "u:p@"):
        with pytest.raises(ValueError, match="an address is missing"):
            parse_redis_url(f"redis+cluster://{hosts}")
