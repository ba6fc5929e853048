"""Runs the checks of a night in processes forked from one that has imported them already.

A night runs some thousand checks. To start Python for each takes ten times as long as the check.

    python -m tests.night.check_server PORT_FILE

The plugins that `write_plugin` writes are its clients: each sends its name and its arguments, and
gets the output and the exit code of the check.
"""

import gc
import os
import signal
import socket
import sys
from importlib import import_module
from pathlib import Path

from beanwatch.checks.lib import launch
from beanwatch.checks.registry import CHECKS

# A shell, as it starts fast. The last line of the reply is the exit code.
_PLUGIN = """\
#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/{port} || exit 3
printf '%s\\0' {name} "$@" $'\\x04' >&3
mapfile -t -u 3 lines
last=$(( ${{#lines[@]}} - 1 ))
(( last < 0 )) && exit 3
(( last )) && printf '%s\\n' "${{lines[@]:0:last}}"
exit "${{lines[last]}}"
"""
END = b"\0\x04\0"


def write_plugin(path: Path, port: int) -> None:
    """Replace the plugin at `path` by a client of the server at `port`."""
    path.unlink(missing_ok=True)
    path.write_text(_PLUGIN.format(port=port, name=path.name.removeprefix("check_")))
    path.chmod(0o755)


def serve(port_file: Path) -> None:
    """Serve until the process is killed. Write the port into `port_file` when it is ready."""
    for check in CHECKS:
        import_module(f"beanwatch.checks.{check.name}")
    gc.freeze()  # a collection in a child would copy all pages
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    server = socket.create_server(("127.0.0.1", 0), backlog=256)
    port_file.with_suffix(".new").write_text(str(server.getsockname()[1]))
    port_file.with_suffix(".new").rename(port_file)
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
    serve(Path(sys.argv[1]))
