"""A program that does what its standard input says, line by line, and answers each line.

Run it with `python -S -I`, so that it starts fast.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time

received: list[str] = []


def notify(text: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        address = os.environ["NOTIFY_SOCKET"]
        sender.sendto(text.encode("latin-1"), address.replace("@", "\0", 1))


def main() -> None:
    keep: list[bytearray] = []
    for number in sys.argv[1:]:  # signals that it prints
        signal.signal(int(number), lambda number, frame: received.append(str(number)))
    for line in sys.stdin:
        word, *arguments = json.loads(line)
        answer: object = "done"
        match word:
            case "notify":  # text, in which a character is a byte
                notify(arguments[0])
            case "notify-many":  # text, how often
                for _ in range(arguments[1]):
                    notify(arguments[0])
            case "signals":
                answer = received
            case "exit":
                raise SystemExit(arguments[0])
            case "notify-and-exit":
                notify(arguments[0])
                raise SystemExit(arguments[1])
            case "grow":  # MiB
                keep.append(bytearray(os.urandom(1 << 20)) * arguments[0])
            case "compute":  # seconds of CPU time, in a child that has ended afterwards
                code = f"import time\nwhile time.process_time() < {arguments[0]!r}: pass"
                subprocess.run([sys.executable, "-S", "-I", "-c", code], check=True)
            case "orphans":  # how many, which end at once; the middle process ends before them
                answer = orphan(arguments[0])
            case "background":  # exit code: go into the background as a daemon does
                go_into_background(arguments[0])
            case "where":
                answer = [os.getpid(), os.getpgid(0), os.getsid(0)]
            case "env":
                answer = os.environ.get(arguments[0], "")
        print(json.dumps(answer), flush=True)


def orphan(count: int) -> list[int]:
    read_end, write_end = os.pipe()
    if not os.fork():
        pids = []
        for _ in range(count):
            pid = os.fork()
            if not pid:
                time.sleep(0.2)
                os._exit(0)
            pids.append(pid)
        os.write(write_end, json.dumps(pids).encode())
        os._exit(0)
    os.close(write_end)
    os.wait()
    with os.fdopen(read_end) as pipe:
        return [int(pid) for pid in json.loads(pipe.read())]


def go_into_background(code: int) -> None:
    """The daemon ends with `code` as soon as it receives SIGTERM."""
    read_end, write_end = os.pipe()
    if os.fork():
        os.close(write_end)
        # Wait until the daemon has told its pid. Otherwise this exit would be the program's end.
        os.read(read_end, 1)
        os._exit(0)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(code))
    notify(f"READY=1\nMAINPID={os.getpid()}\nSTATUS=in the background")
    os.close(write_end)
    print("null", flush=True)
    while True:
        signal.pause()


main()
