"""Replies as a broken or a foreign server may send them, for property tests."""

from hypothesis import strategies as st

from beanwatch.net.redis_url import RedisError

_words = st.sampled_from(
    [b"queue", b"info", b"lag", b"name", b"9" * 30, b"-1", b"{}", b"[[[", b"\xff\n", b'{"queue":1}']
)
_leaves = st.one_of(
    st.none(),
    st.integers(),
    st.binary(max_size=30),
    _words,
    st.just(RedisError("redis x: WRONGTYPE Operation", "WRONGTYPE")),
    st.just(RedisError("redis x: ERR no such key", "ERR")),
)
REPLIES = st.recursive(_leaves, lambda inner: st.lists(inner, max_size=6), max_leaves=12)
