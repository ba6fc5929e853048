"""greenstalk's client over a socket with timeouts, for single commands such as put and delete.

greenstalk has no timeouts, and its client cannot be used after a socket error. `translate_errors`
turns every failure into ServerError. After one, close the client and open another. Use a client
from one thread at a time.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import greenstalk

from beanwatch.net.address import Address, connect
from beanwatch.net.errors import quote_answer, socket_reason
from beanwatch.queues.base import ProtocolError, ServerError

_WORD_OF = {kind: word.decode() for word, kind in greenstalk.ERROR_RESPONSES.items()}


def open_client(address: Address, timeout: float) -> "greenstalk.Client[bytes]":
    """Connect within `timeout` seconds; bodies are bytes. Raises ServerError.

    Afterwards `timeout` limits each wait for the server, so `reserve` needs a shorter timeout of
    its own. greenstalk does not check names of tubes. Check them first: a line end in a name would
    start another command.
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
    """Raise ServerError, with the address and the cause, for every error of the client inside.

    Catch an expected reply, such as greenstalk.NotFoundError, inside the block; the client can be
    used after it. After a ServerError close the client.
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
        # greenstalk raises these for an answer that is cut off or has no line end.
        raise ProtocolError(f"{address}: its answer is cut off, or not beanstalkd's") from None


def reply_word(error: greenstalk.BeanstalkdError) -> str:
    """Return the server's word for an error, such as `DRAINING`."""
    return _WORD_OF.get(type(error), type(error).__name__)


def count_watchers(client: "greenstalk.Client[bytes]", tube: str) -> int:
    """Return how many connections watch a tube; 0 if the tube does not exist."""
    try:
        return client.stats_tube(tube)["current-watching"]
    except greenstalk.NotFoundError:
        return 0


def _explain(error: OSError, timeout: float) -> str:
    if type(error) is ConnectionError:  # raised by greenstalk when the server closed the connection
        return "the server closed the connection"
    return socket_reason(error, timeout)
