"""Finds the node of a Redis Cluster that has beanwatch's keys. All of them are in one slot."""

from binascii import crc_hqx
from typing import Any

from beanwatch.net.address import Address
from beanwatch.net.redis_url import KEY_PREFIX, RedisError

SLOTS = 16384


def slot_of(key: str) -> int:
    """Return the slot of a key: a hash of its first part in braces, or else of all of it.

    https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
    """
    tag, brace, _ = key.partition("{")[2].partition("}")
    return crc_hqx((tag if tag and brace else key).encode(), 0) % SLOTS


def find_owner(slots: Any, asked: Address) -> Address:
    """Return the address of the master that has our keys, from a reply to CLUSTER SLOTS.

    `asked` is the node that sent the reply. It leaves out its own host if it does not know it, and
    then all nodes have the same one. Raises RedisError.
    """
    slot = slot_of(KEY_PREFIX)
    try:
        for first, last, (host, port, *_), *_ in slots:
            if int(first) <= slot <= int(last):
                name = host.decode() if host and host != b"?" else asked.host
                if 0 < int(port) < 65536:
                    return Address(name, int(port))
                raise RedisError(
                    f"redis {asked}: the cluster names no port of the node that has our keys "
                    "(with TLS, its nodes need `tls-cluster yes`)"
                )
    except (AttributeError, TypeError, ValueError):
        raise RedisError(f"redis {asked}: this is not Redis") from None
    raise RedisError(f"redis {asked}: no node of the cluster has slot {slot}, that of our keys")
