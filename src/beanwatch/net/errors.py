"""Texts that say what went wrong on a connection, for the person who is paged."""

import socket


class LookupTimeoutError(TimeoutError):
    """The name server did not answer in time."""


def quote_answer(answer: bytes) -> str:
    """Quote an answer that was not understood; every byte that is not ASCII text is escaped."""
    return repr(answer.decode("ascii", "backslashreplace"))


def socket_reason(error: OSError, timeout: float) -> str:
    """Say why a connection failed; `timeout` is the limit (seconds) that was in force."""
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
