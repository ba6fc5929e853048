"""All troubles of a night."""

from tests.night.queue_troubles import QUEUE_TROUBLES
from tests.night.server_troubles import SERVER_TROUBLES
from tests.night.worker_troubles import WORKER_TROUBLES

TROUBLES = [*WORKER_TROUBLES, *QUEUE_TROUBLES, *SERVER_TROUBLES]
