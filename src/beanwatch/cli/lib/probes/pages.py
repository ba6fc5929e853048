"""Test the addresses on which parts of beanwatch serve pages; the live page and its sources."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

from beanwatch.cli.lib.probes.finding import PROBE_TIMEOUT, Finding
from beanwatch.cli.lib.probes.render import hide_password
from beanwatch.net.address import Address, AddressError, resolve
from beanwatch.net.errors import socket_reason
from beanwatch.net.http import HttpError, get
from beanwatch.net.http_server import parse_listen
from beanwatch.words import count

USERS_FILE = Path("/etc/beanwatch/web-users")
READY = b"ok\n"  # what all our programs answer
# An address to listen on, which stands for all of a host -> one at which the host itself connects.
ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing listens here


def probe_listen(key: str, text: str, program: str) -> Iterator[Finding]:
    """Test the address of a key in the configuration, on which `program` listens.

    A program that runs holds the port itself: then it is asked whether it is ready. If none runs,
    test that it could listen there.
    """
    if not text:
        return
    try:
        address = parse_listen(text)
    except AddressError as error:
        yield Finding(key, "failed", str(error), f"correct {key}")
        return
    shown = address._replace(host=ANY_HOST.get(address.host, address.host))
    try:
        ask(str(shown))
    except HttpError as error:
        yield _without_answer(key, address, program, error)
    else:
        yield Finding(key, "ok", f"{address}: {program} listens there, and is ready")


def ask(address: str) -> None:
    """Ask a program of ours whether it is ready. Raises HttpError, also for another program."""
    if get(f"http://{address}/readyz", PROBE_TIMEOUT) != READY:
        raise HttpError(f"{address}: its page /readyz is not that of beanwatch")


def _without_answer(key: str, address: Address, program: str, error: HttpError) -> Finding:
    if error.status == 503:
        text = f"{address}: {program} listens there, and is not ready: see http://{address}/readyz"
        return Finding(key, "warning", text, f"see the log of {program}")
    if isinstance(error.__cause__, TimeoutError):
        text = f"{address}: the program there sends no page within {PROBE_TIMEOUT:g} s"
        return Finding(key, "warning", text, f"see the log of {program}")
    if not isinstance(error.__cause__, OSError):  # it answers, and is another program
        text = f"another program listens there: {error}"
        return Finding(key, "failed", text, f"stop it, or set {key} to another port")
    if problem := try_to_listen(address):
        text = f"{program} does not run here, and could not listen: {address}: {problem}"
        return Finding(key, "warning", text, f"set {key} to an address of its host that is free")
    text = f"{address}: {program} does not run on this host; the address is free"
    return Finding(key, "unused", text)


def try_to_listen(address: Address) -> str:
    """Return why this user cannot listen on an address; "" if it can."""
    try:
        family, where = resolve(address.host, address.port, PROBE_TIMEOUT)[0]
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(where)
    except OSError as error:
        return socket_reason(error, PROBE_TIMEOUT)
    return ""


def probe_live_page(default: str, users_file: Path = USERS_FILE) -> Iterator[Finding]:
    """Test whether the live page answers at its default address, and whether its users are known.

    Its real address is an option of its command, so that it may run elsewhere.
    """
    from beanwatch.web.users import UsersError, read_users

    try:
        ask(default)
        yield Finding("live page", "ok", f"http://{default}/ is ready")
    except HttpError:
        text = f"it does not answer at its default address http://{default}/"
        yield Finding("live page", "unused", text, "if you want it: beanwatch web")
    try:
        users_file.open("rb").close()
    except OSError:  # there is none, or it is the secret of another user
        return
    try:
        users = read_users(str(users_file))
    except UsersError as error:
        yield Finding("live page users", "failed", str(error), "see beanwatch web --help")
    else:
        yield Finding("live page users", "ok", f"{users_file}: {count(len(users), 'user')}")


def probe_history(history: str) -> Iterator[Finding]:
    """Test that the Prometheus of the live page answers, and has the collector's series.

    `history` is the key of the configuration: a URL, "graphite" (in the findings of Graphite), or
    empty.
    """
    if not history.startswith(("http://", "https://")):
        return
    part, url = "web.history", history.rstrip("/")
    try:
        body = get(f"{url}/api/v1/query?query=beanwatch_server_up", PROBE_TIMEOUT)
        found = json.loads(body)["data"]["result"]
    except (HttpError, ValueError, KeyError, TypeError) as error:
        text = f"Prometheus cannot be asked: {error}"
        yield Finding(part, "failed", text, "start Prometheus, or correct history under [web]")
        return
    if found:
        yield Finding(part, "ok", f"{hide_password(url)}: has the series of beanwatch")
    else:
        text = f"{hide_password(url)}: has no series of beanwatch"
        cure = "let it scrape the collector: see beanwatch install prometheus"
        yield Finding(part, "warning", text, cure)
