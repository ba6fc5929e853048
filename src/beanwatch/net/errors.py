"""Words for what went wrong on a connection, for the person who is paged."""

import socket


def quote_answer(answer: bytes) -> str:
    """An answer that was not understood, quoted: every byte that is not ASCII text is escaped."""
    return repr(answer.decode("ascii", "backslashreplace"))


def socket_reason(error: OSError, timeout: float) -> str:
    """The cause of a failed connection; `timeout` is the limit (seconds) that was in force."""
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: no server listens there"
    if isinstance(error, socket.gaierror):
        return f"the host name cannot be resolved ({error.strerror})"
    if isinstance(error, FileNotFoundError):
        return "no such socket"
    return error.strerror or str(error) or type(error).__name__
