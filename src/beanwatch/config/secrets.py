"""Read the secrets that the configuration names: each is the first line of a file."""

import os
from collections.abc import Mapping

from beanwatch.config import Config, ConfigError, RedisConfig

MAX_FILE = 65536  # bytes of a file with a secret
MIN_SECRET = 32  # characters; a shorter secret could be guessed from a signed command


def read_redis_password(redis: RedisConfig, environ: Mapping[str, str] = os.environ) -> str:
    """Return the password of Redis: the first line of `password_file`.

    If `password_file` is empty, return $BEANWATCH_REDIS_PASSWORD, or "" if that is not set.
    Raises ConfigError if the file cannot be read.
    """
    if not redis.password_file:
        return environ.get("BEANWATCH_REDIS_PASSWORD", "")
    return read_first_line("redis.password_file", redis.password_file)


def read_signing_secret(config: Config) -> bytes:
    """Return the secret that signs commands to workers: the first line of `secret_file`.

    Return b"" if there is no such file. Raises ConfigError if the file cannot be read, if other
    users can, or if the secret is shorter than MIN_SECRET characters.
    """
    if not config.secret_file:
        return b""
    from beanwatch.file_access import describe_exposure  # most commands read no secret

    key, path = "workers.secret_file", config.secret_file
    secret = read_first_line(key, path)
    try:
        exposed = describe_exposure(path)
    except OSError as error:
        raise ConfigError(f"{key}: cannot read {path}: {error.strerror}") from None
    if exposed:
        raise ConfigError(f"{key}: {exposed}")
    if len(secret) < MIN_SECRET:
        raise ConfigError(
            f"{key}: the first line of {path} has {len(secret)} characters, expected at least "
            f"{MIN_SECRET}; to make a secret: openssl rand -hex 32"
        )
    return secret.encode()


def read_first_line(key: str, path: str) -> str:
    """Return the first line of the file that `key` names. Raises ConfigError."""
    from beanwatch.file_access import read_plain_file  # most checks read no secret

    try:
        return read_plain_file(path, MAX_FILE).decode().partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"{key}: cannot read {path}: {reason}") from None
