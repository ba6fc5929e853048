"""Turns errors of connections into texts for messages and alerts."""

import socket


class LookupTimeoutError(TimeoutError):
    """Raised if a host name was not resolved in time: the name server did not reply."""


def quote_answer(answer: bytes) -> str:
    """Quote an unexpected reply for a message; bytes that are not printable ASCII are escaped."""
    return repr(answer.decode("ascii", "backslashreplace"))


def socket_reason(error: OSError, timeout: float) -> str:
    """Return why a connection failed, in words; `timeout` is the limit that it had, in seconds."""
    if isinstance(error, LookupTimeoutError):
        return "the host name cannot be resolved (no answer from the name server)"
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: no server listens there"
    if isinstance(error, socket.gaierror):
        return f"the host name cannot be resolved ({error.strerror})"
    if isinstance(error, FileNotFoundError):
        return "no such socket"
    return error.strerror or str(error) or type(error).__name__
