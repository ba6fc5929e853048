"""Finds libraries that replace Python's threads by green ones."""

import _thread
import signal
import socket
import time


def find_green_library() -> str:
    """Return the library that has replaced threads, sleep, sockets or signals; "" if none has.

    These libraries switch between tasks only where a task waits: a job that computes would stop all
    others. Debuggers replace the same functions and do no harm, so look for these libraries only.
    """
    replaced = (_thread.start_new_thread, time.sleep, socket.socket, signal.signal)
    libraries = {(function.__module__ or "").partition(".")[0] for function in replaced}
    return min(libraries & {"gevent", "eventlet"}, default="")
