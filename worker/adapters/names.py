"""Gives worker processes names that stay the same over restarts, and clear of the frameworks'."""

import os
import re
import socket

MAX_WORKERS = 1000  # of one kind on a host
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_-]+")
_MAX_NAME = 58  # characters; a number may follow


def clean_name(text: str, default: str) -> str:
    """Return a name that beanwatch allows, made from one that a framework allows."""
    return _NOT_ALLOWED.sub("_", text)[:_MAX_NAME].strip("_") or default


def claim_name(prefix: str) -> str:
    """Return `PREFIX-N` with the lowest number that no living process of this host has.

    A worker that is started again takes the number of the one that ended, so that ids do not grow
    without end. The number is held by a socket in Linux's abstract namespace: the kernel frees it
    however the process ends, and no file is left. On other systems N is the process id.
    """
    for number in range(1, MAX_WORKERS + 1):
        name = f"{prefix[:_MAX_NAME]}-{number}"
        if claim_once(name):
            return name
    return f"{prefix[:_MAX_NAME]}-{os.getpid()}"


def claim_once(name: str) -> bool:
    """Return True if no other living process of this host has claimed `name`."""
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        holder.bind(f"\0beanwatch-{name}")
    except OSError:
        holder.close()
        return False
    _held.append(holder)
    # A forked child must not keep the name of a parent that has ended.
    os.register_at_fork(after_in_child=holder.close)
    return True


_held: list[socket.socket] = []
