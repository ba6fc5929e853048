"""Mount a file system that never answers, as a network file system whose server is away."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def hung_disk(over: Path) -> Iterator[None]:
    """Hide the directory under a file system on which each call hangs, until the block ends.

    It is FUSE without a program that answers. Skips the test where it cannot be mounted.
    """
    try:
        fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        pytest.skip("this machine has no FUSE")
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
    if _libc.mount(b"hung", os.fsencode(over), b"fuse", 0, options):
        os.close(fuse)
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        os.close(fuse)  # the kernel ends all calls that wait
        subprocess.run(["umount", "--lazy", str(over)], check=True)
