"""The real servers that the tests and the demo use.

Each server is a context manager. It starts on a free loopback port, in a directory of its own. At
the end it is stopped, even after an exception.

    with Beanstalkd(tmp_path / "beanstalkd") as server:
        server.client().put("hello")
"""

from tests.real.beanstalkd import Beanstalkd
from tests.real.graphite import Graphite
from tests.real.nagios import Nagios
from tests.real.process import (
    ROOT,
    Server,
    StartupError,
    closed_port,
    free_port,
    spawn,
    stop_process,
)
from tests.real.proxy import Proxy
from tests.real.redis_server import Redis
from tests.real.sinks import HttpSink, LineSink, SmtpSink
from tests.real.statsd import StatsD
from tests.real.waiting import WaitError, wait_until

__all__ = [
    "ROOT",
    "Beanstalkd",
    "Graphite",
    "HttpSink",
    "LineSink",
    "Nagios",
    "Proxy",
    "Redis",
    "Server",
    "SmtpSink",
    "StartupError",
    "StatsD",
    "WaitError",
    "closed_port",
    "free_port",
    "spawn",
    "stop_process",
    "wait_until",
]
