"""The queue system Amazon SQS, read with botocore: the queues of one account in one region."""

import re

from beanwatch.light_typing import TYPE_CHECKING
from beanwatch.net.address import AddressError
from beanwatch.queues.base import (
    DEAD_LETTERS,
    DEFAULT_TIMEOUT,
    Actions,
    Reader,
    ReaderOptions,
    System,
)

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server


def open_reader(server: "Server", options: ReaderOptions) -> Reader:
    """Return a reader of this account's queues. It imports botocore at the first reading."""
    from beanwatch.queues.sqs.reader import SqsReader

    return SqsReader(server, options)


def open_actions(server: "Server", timeout: float = DEFAULT_TIMEOUT) -> Actions:
    """Return the actions on these queues. `timeout` (seconds) limits each wait for a reply."""
    from beanwatch.queues.sqs.actions import SqsActions

    return SqsActions(server, timeout)


def check_server(server: "Server") -> None:
    """Raise AddressError unless the URL is sqs://REGION, and endpoint_url is one of HTTP."""
    if not re.fullmatch(r"sqs://[a-z0-9-]+/?", server.url.text) or server.url.user:
        raise AddressError(
            f"server {str(server)!r}: expected sqs://REGION, such as sqs://eu-west-1"
        )
    if not re.fullmatch(r"(https?://\S+)?", server.config.endpoint_url):
        raise AddressError("endpoint_url: expected http://HOST[:PORT] or https://HOST[:PORT]")


SYSTEM = System(
    name="sqs",
    default_port=443,
    queue_fields=frozenset(("ready", "reserved", "delayed", "buried", "head_ready_age")),
    server_fields=frozenset(("queues",)),
    actions=frozenset(("peek", "list_jobs", "kick", "empty")),
    consumers="unknown: SQS does not know its consumers",
    absent_is_empty=False,
    open_reader=open_reader,
    open_actions=open_actions,
    failed=DEAD_LETTERS,
    empties=("ready", "buried"),
    peek_effect="counts as an attempt, and hides it from the consumers meanwhile",
    settings=frozenset(("queues", "endpoint_url", "cloudwatch")),
    native_queue=(
        ("MessageRetentionPeriod", "seconds after which SQS deletes a message"),
        ("NumberOfMessagesDeleted", "messages deleted in the last minutes, by CloudWatch"),
        ("NumberOfMessagesSent", "messages sent in the last minutes, by CloudWatch"),
    ),
    check_server=check_server,
    has_host=False,
    needed_settings=(("head_ready_age", "cloudwatch"),),
)
