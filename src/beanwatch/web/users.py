"""The file of users: a line `name:role:hash` for each; passwords are hashed with scrypt."""

import base64
import hashlib
import hmac
import os
import re
import secrets
from typing import NamedTuple

from beanwatch.file_access import describe_exposure, find_writers
from beanwatch.net.files import read_private

ROLES = ("view", "act")
NAME = re.compile(r"[A-Za-z0-9_.@+-]{1,64}")
NO_PASSWORD = "-"  # noqa: S105 - for users whom a proxy has authenticated
MAX_FILE = 1024 * 1024  # bytes
MIN_PASSWORD = 8  # characters
# The costs of a hash, for OWASP's recommendation for scrypt: 64 MiB would be too much for a small
# host that checks several at once; 16 MiB with p = 5 is the equivalent.
N, R, P = 2**14, 8, 5
_MAX_MEMORY = 64 * 1024 * 1024


class UsersError(Exception):
    """The file of users cannot be used; the text names the file, the line and the fault."""


class User(NamedTuple):
    """A user of the page. `role` is one of ROLES, `hash` a result of `hash_password`."""

    name: str
    role: str
    hash: str


def hash_password(password: str, salt: bytes | None = None) -> str:
    """Return the hash of a password as `scrypt$N$R$P$SALT$HASH`."""
    salt = salt or secrets.token_bytes(16)
    found = _scrypt(password, salt, N, R, P)
    return f"scrypt${N}${R}${P}${_encode(salt)}${_encode(found)}"


def check_password(password: str, hashed: str) -> bool:
    """Return True if this is the password; the comparison takes the same time for all others."""
    try:
        kind, n, r, p, salt, wanted = hashed.split("$")
        if kind != "scrypt":
            return False
        found = _scrypt(password, base64.b64decode(salt), int(n), int(r), int(p))
    except ValueError:
        return False
    return hmac.compare_digest(_encode(found), wanted)


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "replace"), salt=salt, n=n, r=r, p=p, maxmem=_MAX_MEMORY, dklen=32
    )


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


# The hash that is checked for a name that does not exist, so that this takes as long.
DUMMY_HASH = f"scrypt${N}${R}${P}${_encode(b'0' * 16)}${_encode(b'0' * 32)}"


def read_users(path: str) -> dict[str, User]:
    """Return the users of a file, by name. Raises UsersError.

    Nobody but its owner may be able to change the file, or others than the group to read it.
    """
    path = os.path.abspath(path)
    try:
        content = read_private(path)
        if content is None:
            raise UsersError(f"the file of users {path} does not exist")
        exposed = describe_exposure(path) or next(iter(find_writers(path)), "")
    except OSError as error:
        raise UsersError(f"cannot read the file of users {path}: {error.strerror}") from None
    if exposed:
        raise UsersError(f"the file of users is not safe: {exposed}")
    if len(content) > MAX_FILE:
        raise UsersError(f"the file of users {path} is larger than {MAX_FILE} bytes")
    users = parse_users(content.decode("utf-8", "replace"), path)
    if not users:
        raise UsersError(f"the file of users {path} names no user")
    return users


def parse_users(text: str, path: str) -> dict[str, User]:
    """Parse the lines of a file of users; empty ones and those with a `#` first are skipped.

    Raises UsersError. Its text never contains a hash.
    """
    users: dict[str, User] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        where = f"{path}, line {number}"
        name, _, rest = line.partition(":")
        role, _, hashed = rest.partition(":")
        if not NAME.fullmatch(name):
            raise UsersError(f"{where}: expected name:role:hash, with a name of letters and digits")
        if role not in ROLES:
            raise UsersError(f"{where}: the role of {name} must be one of {', '.join(ROLES)}")
        if hashed != NO_PASSWORD and not _is_hash(hashed):
            raise UsersError(
                f"{where}: the hash of {name} is not one of `beanwatch web --add-user`"
            )
        if name in users:
            raise UsersError(f"{where}: {name} is there twice")
        users[name] = User(name, role, hashed)
    return users


def _is_hash(text: str) -> bool:
    return bool(
        re.fullmatch(r"scrypt\$\d{1,8}\$\d{1,2}\$\d{1,2}\$[\w+/=]{8,64}\$[\w+/=]{24,128}", text)
    )


def make_entry(name: str, role: str, password: str) -> str:
    """Return the line of a user. Raises ValueError for a name or a password that is not allowed."""
    if not NAME.fullmatch(name):
        raise ValueError("a user's name has 1 to 64 letters, digits and _ . @ + -")
    if len(password) < MIN_PASSWORD:
        raise ValueError(f"a password needs at least {MIN_PASSWORD} characters")
    return f"{name}:{role}:{hash_password(password)}"
