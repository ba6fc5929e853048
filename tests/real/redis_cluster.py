"""A real Redis Cluster: three masters, which share the slots."""

from contextlib import ExitStack
from pathlib import Path
from typing import Self

from redis.exceptions import ResponseError

from beanwatch.net.redis_cluster import SLOTS, slot_of
from beanwatch.net.redis_url import KEY_PREFIX
from tests.real.process import free_port
from tests.real.redis_server import SpecialRedis
from tests.real.waiting import wait_until

SLOT = slot_of(KEY_PREFIX)


class Node(SpecialRedis):
    """One node. Its bus, over which the nodes speak to each other, has a free port too."""

    name = "redis-node"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.bus = 0

    def choose_ports(self) -> None:
        super().choose_ports()
        self.bus = free_port()

    def argv(self) -> list[str]:
        bus = ["--cluster-port", str(self.bus)]
        limits = ["--cluster-node-timeout", "5000", "--cluster-require-full-coverage", "no"]
        return [*super().argv(), "--cluster-enabled", "yes", *bus, *limits]

    def command(self, *words: object) -> object:
        with self.client() as client:
            return client.execute_command(*words)


class RedisCluster:
    """Three masters on free ports, all of which know who has which slot."""

    def __init__(self, directory: Path) -> None:
        self.nodes = [Node(directory / str(number)) for number in range(3)]
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    @property
    def owner(self) -> Node:
        """The node that has beanwatch's keys, as it says itself."""
        return next(node for node in self.nodes if _has_slot(node))

    def move_keys(self) -> Node:
        """Move beanwatch's keys to another node, as a reshard does; return that node."""
        here = self.owner
        there = next(node for node in self.nodes if node is not here)
        self.begin_move(here, there)
        move = ("MIGRATE", "127.0.0.1", there.port, "", 0, 5000, "KEYS")
        with here.client() as client:
            while keys := client.execute_command("CLUSTER", "GETKEYSINSLOT", SLOT, 100):
                client.execute_command(*move, *keys)
        self.end_move(there)
        return there

    def begin_move(self, here: Node, there: Node) -> None:
        there.command("CLUSTER", "SETSLOT", SLOT, "IMPORTING", _id(here))
        here.command("CLUSTER", "SETSLOT", SLOT, "MIGRATING", _id(there))

    def end_move(self, there: Node) -> None:
        for node in (there, *(node for node in self.nodes if node is not there)):
            node.command("CLUSTER", "SETSLOT", SLOT, "NODE", _id(there))

    def __enter__(self) -> Self:
        try:
            for node in self.nodes:
                self._stack.enter_context(node)
            share = SLOTS // 3
            for number, node in enumerate(self.nodes):
                last = SLOTS - 1 if number == 2 else (number + 1) * share - 1
                node.command("CLUSTER", "ADDSLOTSRANGE", number * share, last)
                node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            first, *others = self.nodes
            for node in others:
                first.command("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus)
            wait_until(lambda: all(map(_is_complete, self.nodes)), 60, "the cluster is complete")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()


def _id(node: Node) -> str:
    return str(node.command("CLUSTER", "MYID"))


def _has_slot(node: Node) -> bool:
    try:
        node.command("EXISTS", KEY_PREFIX)
    except ResponseError:
        return False
    return True


def _is_complete(node: Node) -> bool:
    with node.client() as client:
        info = client.execute_command("CLUSTER INFO")
        fields = ("cluster_known_nodes", "cluster_size", "cluster_state")
        return [info[field] for field in fields] == ["3", "3", "ok"]
