"""Runs checks in processes forked from one that has imported them already: `CheckServer`.

    forked_checks.py PORT

To start Python for each check takes ten times as long as the check. The plugins that `CheckServer`
writes are the clients: each sends its name and its arguments, and gets output and exit code.
"""

import gc
import os
import signal
import socket
import sys
from importlib import import_module

from beanwatch.checks.lib import launch
from beanwatch.checks.registry import CHECKS

END = b"\0\x04\0"


def serve(port: int) -> None:
    """Serve on a loopback port until the process is killed."""
    for check in CHECKS:
        import_module(f"beanwatch.checks.{check.name}")
    gc.freeze()  # a collection in a child would copy all pages
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    server = socket.create_server(("127.0.0.1", port), backlog=256)
    while True:
        connection, _ = server.accept()
        if os.fork() == 0:
            server.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                answer(connection)
            finally:
                os._exit(0)
        connection.close()


def answer(connection: socket.socket) -> None:
    """Run the check that a client asks for, and send it the output and the exit code."""
    received = b""
    while not received.endswith(END):
        if not (data := connection.recv(65536)):
            return
        received += data
    name, *arguments = received[: -len(END)].decode().split("\0")
    pid = os.fork()
    if pid == 0:
        os.dup2(connection.fileno(), 1)
        sys.argv = [f"check_{name}", *arguments]
        launch.start(name)
    _, status = os.waitpid(pid, 0)
    connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    serve(int(sys.argv[1]))
