"""Open clients of the package greenstalk with timeouts, for single commands such as put.

greenstalk itself has no timeouts. `translate_errors` turns each of its errors into a ServerError.
After one, close the client and open another: its connection is unusable. A client must not be used
by several threads at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import greenstalk

from beanwatch.net.address import Address, connect
from beanwatch.net.errors import quote_answer, socket_reason
from beanwatch.queues.base import ProtocolError, ServerError

_WORD_OF = {kind: word.decode() for word, kind in greenstalk.ERROR_RESPONSES.items()}


def open_client(address: Address, timeout: float) -> "greenstalk.Client[bytes]":
    """Connect to a beanstalkd and return a client that uses bytes as bodies. Raises ServerError.

    `timeout` (seconds) limits the connect and each wait for a reply, so call `reserve` with a
    shorter timeout. Check tube names before you pass them on, since greenstalk does not: a line end
    in a name would start another command.
    """
    with translate_errors(address, timeout):
        connected = connect(address, timeout)
        try:
            connected.settimeout(timeout)
            return greenstalk.Client(connected, encoding=None)
        except BaseException:
            connected.close()
            raise


@contextmanager
def translate_errors(address: Address, timeout: float) -> Iterator[None]:
    """Turn every error that a client raises inside the block into a ServerError.

    Its text has `address` and the cause; `timeout` (seconds) is only used in the text. Close the
    client after a ServerError. To handle an expected error reply, such as greenstalk.NotFoundError,
    catch it inside the block; the client stays usable.
    """
    try:
        yield
    except OSError as error:
        raise ServerError(f"{address}: {_explain(error, timeout)}") from None
    except greenstalk.BeanstalkdError as error:
        raise ServerError(f"{address}: it answered {reply_word(error)}") from None
    except greenstalk.UnknownResponseError as error:
        answer = quote_answer(b" ".join((error.status, *error.values))[:40])
        raise ProtocolError(f"{address}: this is not beanstalkd, it answered {answer}") from None
    except (AssertionError, ValueError):
        # greenstalk raises these for a reply that is cut off or has no line end.
        raise ProtocolError(f"{address}: its reply is cut off, or not beanstalkd's") from None


def reply_word(error: greenstalk.BeanstalkdError) -> str:
    """Return the server's reply for which greenstalk raised this error, such as `DRAINING`."""
    return _WORD_OF.get(type(error), type(error).__name__)


def count_watchers(client: "greenstalk.Client[bytes]", tube: str) -> int:
    """Return the number of connections that watch a tube; 0 if the tube does not exist."""
    try:
        return client.stats_tube(tube)["current-watching"]
    except greenstalk.NotFoundError:
        return 0


def _explain(error: OSError, timeout: float) -> str:
    if type(error) is ConnectionError:  # raised by greenstalk when the server closed the connection
        return "the server closed the connection"
    return socket_reason(error, timeout)
