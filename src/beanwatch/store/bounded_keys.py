"""Limits how many keys of one kind Redis keeps: an index names them, and a script trims it."""

from beanwatch.net.redis_url import Command

_TRIM = """
local over = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[1])
local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])
if #old > 0 then redis.call('ZREM', KEYS[1], unpack(old)) end
over = math.min(over - #old, tonumber(ARGV[3]))
if over > 0 then
  local oldest = redis.call('ZRANGE', KEYS[1], 0, over - 1)
  redis.call('ZREM', KEYS[1], unpack(oldest))
  redis.call('UNLINK', unpack(oldest))
end
return over
"""


def trim_command(index: str, kept: int, at_once: int, *, expired_before: int = 0) -> Command:
    """Return the command that removes the keys with the lowest scores, so that `kept` remain.

    `index` is a sorted set of keys. The command removes at most `at_once` keys, because Redis
    serves nobody else meanwhile. Names with a score up to `expired_before` leave only the index:
    their keys have expired.
    """
    return ("EVAL", _TRIM, 1, index, kept, expired_before, at_once)
