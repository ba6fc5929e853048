"""The entry points: a check that cannot even be imported says so on one line, and exits 3."""

import gc
import os
from functools import partial
from importlib import import_module
from typing import NoReturn


def start(name: str) -> NoReturn:
    """Run the check in module `beanwatch.checks.<name>`; nothing gets past this as a traceback."""
    gc.disable()  # a process of 30 ms has nothing to collect; collecting costs it 1 ms
    try:
        import_module(f"beanwatch.checks.{name}").main()
        reason = "it ended without a result"
    except ImportError as error:
        reason = f"cannot start: {error}; install it again: pip install beanwatch"
    except KeyboardInterrupt:
        reason = "interrupted"
    except BaseException as error:  # whatever it is, Nagios must read UNKNOWN and not exit code 1
        reason = f"cannot start: {type(error).__name__}: {error}"
    line = f"{name.upper()} UNKNOWN - {' '.join(reason.replace('|', '/').split())}\n"
    os.write(1, line.encode("utf-8", "replace"))
    os._exit(3)


queue_server = partial(start, "queue_server")
queue_depth = partial(start, "queue_depth")
queue_buried = partial(start, "queue_buried")
queue_age = partial(start, "queue_age")
queue_consumers = partial(start, "queue_consumers")
worker_heartbeat = partial(start, "worker_heartbeat")
job_failures = partial(start, "job_failures")
metrics_fresh = partial(start, "metrics_fresh")
