"""The channel that appends alerts to a file, one line each."""

import errno
import os
from collections.abc import Iterable, Sequence
from functools import partial

from beanwatch.checks.channels.alert import Alert, Channel, ChannelOptions, DeliveryError, Target
from beanwatch.quoting import header_text


def plan(alert: Alert, paths: Sequence[str], _options: ChannelOptions) -> Iterable[Target]:
    """Return a target for each file. Its function appends the alert to the file as one line."""
    for path in paths:
        yield f"to the file {path}", partial(append_file, alert, path)


def append_file(alert: Alert, path: str) -> None:
    """Append one line: kind, host, service, state, output and runbook, separated by tabs.

    Creates the file if it does not exist. Raises DeliveryError, also if it is a symbolic link or a
    FIFO that nobody reads.
    """
    fields = (alert.kind, alert.host, alert.service, alert.state, alert.output, alert.runbook)
    line = "\t".join(map(header_text, fields)) + "\n"
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for a reader.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o640)
        data = line.encode("utf-8", "replace")
        try:
            if os.write(descriptor, data) < len(data):
                raise OSError(errno.ENOSPC, "only a part of the line was written")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DeliveryError(f"cannot write the alert to {path}: {error.strerror}") from None


CHANNEL = Channel("--file", "FILE", "append the alert to FILE as one line", plan)
