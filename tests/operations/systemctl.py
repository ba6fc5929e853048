#!/usr/bin/python3
"""Stands for systemctl and journalctl where no systemd runs: reads the same units, starts them.

    systemctl start|restart|reload|stop|enable --now|daemon-reload UNIT...
    journalctl -u UNIT

Units of this project are found in /etc/systemd/system, as systemd finds them, and it does what
their settings say: user files of the environment, state directory, command line. Debian's own
services are started as their units would.
"""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

RUN = Path("/run/units")
DEBIAN = {
    "beanstalkd": "/usr/bin/beanstalkd -l 127.0.0.1 -p 11300",
    "redis-server": "/usr/bin/redis-server --bind 127.0.0.1 --port 6379 --save '' --dir /tmp",
    "nagios4": "/usr/sbin/nagios4 /etc/nagios4/nagios.cfg",
    "prometheus": "/usr/bin/prometheus",
    "prometheus-alertmanager": "/usr/bin/prometheus-alertmanager --cluster.listen-address=",
}


def find_unit(name: str) -> tuple[str, dict[str, str], str, bool]:
    """The command line of a unit, its environment, a directory that it wants; does it notify?"""
    if name in DEBIAN:
        return DEBIAN[name], {}, "", False
    template, at, instance = name.partition("@")
    path = Path("/etc/systemd/system") / f"{template}{at}.service"
    if not path.exists():
        sys.exit(f"Unit {name}.service not found.")
    settings = [
        line.replace("%i", instance).split("=", 1)
        for line in path.read_text().splitlines()
        if "=" in line and line[0] not in "#["
    ]
    environment: dict[str, str] = {}
    for key, value in settings:
        if key == "EnvironmentFile" and Path(value.lstrip("-")).exists():
            for line in Path(value.lstrip("-")).read_text().splitlines():
                if "=" in line and not line.startswith("#"):
                    environment.update([line.split("=", 1)])
    found = dict(settings)
    state = found.get("StateDirectory", "")
    if state:
        environment["STATE_DIRECTORY"] = f"/var/lib/{state}"
    notifies = found.get("Type") == "notify"
    return found["ExecStart"], environment, environment.get("STATE_DIRECTORY", ""), notifies


def start(name: str) -> None:
    """Start it unless it runs."""
    command, environment, state, notifies = find_unit(name)
    if is_running(name):
        return
    if state:
        Path(state).mkdir(parents=True, exist_ok=True)
    words = []
    for word in shlex.split(command):
        if word.startswith("$") and not word.startswith("${"):
            words += environment.get(word[1:], "").split()
        else:
            for key, value in environment.items():
                word = word.replace(f"${{{key}}}", value)
            words.append(word)
    ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    if notifies:
        environment["NOTIFY_SOCKET"] = str(RUN / f"{name}.notify")
        Path(environment["NOTIFY_SOCKET"]).unlink(missing_ok=True)
        ready.bind(environment["NOTIFY_SOCKET"])
    with open(f"/var/log/{name}.unit.log", "ab") as log:
        process = subprocess.Popen(
            words,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    (RUN / name).write_text(str(process.pid))
    ready.settimeout(0.1)
    end = time.monotonic() + (60 if notifies else 1)
    while process.poll() is None and time.monotonic() < end:
        try:
            if b"READY=1" in ready.recv(4096):
                return
        except TimeoutError:
            continue
    if notifies or process.poll() not in (None, 0):
        sys.exit(f"Job for {name}.service failed. See: journalctl -u {name}")


def is_running(name: str) -> bool:
    """Is it there, and no zombie?"""
    try:
        pid = int((RUN / name).read_text())
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def tell(name: str, number: signal.Signals) -> None:
    """Send a signal."""
    if is_running(name):
        os.kill(int((RUN / name).read_text()), number)


def stop(name: str) -> None:
    """Stop it, and wait until it has."""
    tell(name, signal.SIGTERM)
    end = time.monotonic() + 45
    while is_running(name) and time.monotonic() < end:
        time.sleep(0.05)


def main() -> None:
    """Do what the arguments say."""
    RUN.mkdir(exist_ok=True)
    pid_files = Path("/run/nagios4")  # which systemd-tmpfiles would have made
    pid_files.mkdir(exist_ok=True)
    shutil.chown(pid_files, "nagios")
    arguments = sys.argv[1:]
    if Path(sys.argv[0]).name == "journalctl":
        name = arguments[arguments.index("-u") + 1]
        sys.stdout.write(Path(f"/var/log/{name}.unit.log").read_text())
        return
    verb, *words = [word for word in arguments if not word.startswith("-")]
    if verb == "enable" and "--now" in arguments:
        verb = "start"
    for name in (word.removesuffix(".service") for word in words):
        if verb == "stop":
            stop(name)
        elif verb == "restart":
            stop(name)
            start(name)
        elif verb == "reload":
            tell(name, signal.SIGHUP)
        elif verb == "start":
            start(name)
        else:
            find_unit(name)


if __name__ == "__main__":
    main()
