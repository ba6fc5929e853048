"""Says who, besides root and this user, can read or change a file, as ssh checks its own files.

It also reads files that people name. This module imports no other module of beanwatch.
"""

import errno
import os
import stat
from collections.abc import Iterator, Mapping


def describe_exposure(path: str) -> str:
    """Return a text if users other than the owner and the group can read or change a file.

    The text says how to protect it. Return "" if nobody else can. Raises OSError.
    """
    mode = os.stat(path).st_mode
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        return f"other users can read or change {path}; to protect it: chmod 0640 {path}"
    return ""


def find_writers(path: str, environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Yield a text for each way in which another user can change or replace a file.

    Another user can own the file or a directory above it, or have the right to write to it. Trusted
    are root, the user of this process, the user who started it by sudo, and root's group. The
    files of a directory with the sticky bit, such as /tmp, can be replaced by their owners only.
    Raises OSError if the file cannot be examined.
    """
    trusted = {0, os.geteuid()}
    if os.geteuid() == 0 and environ.get("SUDO_UID", "").isdecimal():
        trusted.add(int(environ["SUDO_UID"]))
    path = os.path.realpath(path)
    while True:
        found = os.stat(path)
        is_sticky = stat.S_ISDIR(found.st_mode) and bool(found.st_mode & stat.S_ISVTX)
        if found.st_uid not in trusted:
            yield f"{path} belongs to {_user_name(found.st_uid)}"
        if found.st_mode & stat.S_IWOTH and not is_sticky:
            yield f"all users can write to {path}"
        elif found.st_mode & stat.S_IWGRP and found.st_gid != 0 and not is_sticky:
            yield f"the group {_group_name(found.st_gid)} can write to {path}"
        if path == "/":
            return
        path = os.path.dirname(path)


def read_plain_file(path: str, limit: int) -> bytes:
    """Return the content of a file, of at most `limit` bytes. Raises OSError.

    Also if it is no plain file: a FIFO would be waited for, and /dev/zero never ends.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a plain file", path)
        with open(descriptor, "rb", closefd=False) as stream:
            content = stream.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit} bytes", path)
    return content


def _user_name(number: int) -> str:
    import pwd  # imported here because only messages need it

    try:
        return f"the user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"the user with the number {number}"


def _group_name(number: int) -> str:
    import grp

    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return f"with the number {number}"
