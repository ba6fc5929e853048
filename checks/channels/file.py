"""The channel that appends alerts to a file, one line each."""

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from beanwatch.checks.channels.alert import Alert, Channel, ChannelOptions, DeliveryError
from beanwatch.quoting import header_text


def plan(
    alert: Alert, paths: Sequence[str], _options: ChannelOptions
) -> Iterable[Callable[[], None]]:
    """Return a function for each file. Calling it appends the alert to the file as one line."""
    for path in paths:
        yield partial(append_file, alert, path)


def append_file(alert: Alert, path: str) -> None:
    """Append one line: kind, host, service, state, output and runbook, separated by tabs.

    Creates the file if it does not exist. Raises DeliveryError, also if it is a symbolic link.
    """
    fields = (alert.kind, alert.host, alert.service, alert.state, alert.output, alert.runbook)
    line = "\t".join(map(header_text, fields)) + "\n"
    try:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o640)
        try:
            os.write(descriptor, line.encode("utf-8", "replace"))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DeliveryError(f"cannot write the alert to {path}: {error.strerror}") from None


CHANNEL = Channel("--file", "FILE", "append the alert to FILE as one line", plan)
