"""The socket of the example worker, to a server that does not read."""

import socket
import subprocess
from pathlib import Path

from tests.php_worker.conftest import PHP_FILES

# Sends more than fits into buffers. A signal interrupts the waits, as the monitor's does.
SEND = f"""<?php
require 'Pheanstalk/autoload.php';
require '{PHP_FILES}/beanwatch.php';
pcntl_async_signals(true);
pcntl_signal(SIGALRM, fn () => pcntl_alarm(1), true);
pcntl_alarm(1);
$socket = (new Beanwatch\\Pheanstalk\\TimedSocket($argv[1]))->create();
$started = hrtime(true);
try {{
    $socket->write(str_repeat('x', 50_000_000));
}} catch (Beanwatch\\Pheanstalk\\ConnectionLost $lost) {{
    echo intdiv(hrtime(true) - $started, 10 ** 9), ' ', $lost->getMessage();
}}
"""


def test_a_server_that_reads_nothing_is_given_up_in_time(tmp_path: Path) -> None:
    script = tmp_path / "send.php"
    script.write_text(SEND)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        argv = ["php", script, address]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    seconds, _, text = done.stdout.partition(" ")
    assert text == f"cannot send to beanstalkd {address}"
    assert int(seconds) < 10
