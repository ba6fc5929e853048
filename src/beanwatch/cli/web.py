"""`beanwatch web`: serve the live page."""

import socket
import sys
from collections.abc import Callable
from typing import Any

import click

from beanwatch.cli.lib.absent_parts import PresentParts
from beanwatch.cli.lib.options import (
    DURATION,
    QUERY_TIMEOUT,
    check_durations,
    config_option,
    load_config,
    pick_redis,
    pick_servers,
    redis_option,
    server_option,
)
from beanwatch.cli.lib.output import print_line
from beanwatch.net.address import Address, AddressError, resolve
from beanwatch.net.http_server import describe_listen_error, parse_listen
from beanwatch.net.systemd import SystemdNotifier
from beanwatch.telemetry.logging.output import STDERR
from beanwatch.telemetry.logging.setup import configure, get_logger
from beanwatch.words import install_command

DEFAULT_LISTEN = "127.0.0.1:8025"
ROLES = ("view", "act")


@click.command("web")
@config_option
@server_option
@redis_option("the heartbeats, the ledger and the failures")
@click.option(
    "--listen",
    metavar="[HOST:]PORT",
    default=DEFAULT_LISTEN,
    show_default=True,
    help="address to listen on; other addresses than loopback need --users or --trusted-proxy",
)
@click.option("--users", metavar="FILE", help="let only the users in this file in, with a password")
@click.option(
    "--trusted-proxy", metavar="ADDRESS", help="IP address of a proxy that authenticates users"
)
@click.option(
    "--user-header", metavar="NAME", help="header in which that proxy sends the user's name"
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="host name under which browsers reach the page, besides localhost; repeatable",
)
@click.option(
    "--base-path", metavar="PATH", default="", help="path below which a reverse proxy serves it (/)"
)
@click.option(
    "--allow-actions",
    is_flag=True,
    help="allow to kick, delete, move and retry jobs, to pause queues, and to command workers",
)
@click.option(
    "--add-user",
    metavar="NAME",
    help="print the line of a user for the file of --users, then exit; asks for the password, or "
    "reads it from standard input",
)
@click.option(
    "--role", type=click.Choice(ROLES), default="view", help="role of that user: view or act (view)"
)
@click.option(
    "--timeout", type=DURATION, default=QUERY_TIMEOUT, help="longest wait for a server's reply (5s)"
)
def command(
    config_file: str | None,
    servers: tuple[str, ...],
    redis: str | None,
    listen: str,
    add_user: str | None,
    role: str,
    base_path: str,
    timeout: float,
    **access: Any,
) -> int:
    """Serve the live page: queues, workers, failures and checks, with what to do about them.

    Without --users or --trusted-proxy it listens on loopback only. It changes nothing unless
    --allow-actions is given.

    \b
    Examples:
      beanwatch web
      beanwatch web --add-user ann --role act >> /etc/beanwatch/web-users
      beanwatch web --listen 10.0.0.5:8025 --users /etc/beanwatch/web-users --allow-actions
    """
    try:
        from beanwatch.web.serve import Settings, serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "beanwatch":
            raise
        raise click.UsageError(
            f"the live page needs more packages: {install_command('web')} (missing: {error.name})"
        ) from None
    if add_user is not None:
        return print_user(add_user, role)
    check_durations(timeout=timeout)
    config = load_config(config_file).set_redis(redis)
    address = parse_address_option(listen)
    picked = pick_servers(config, servers)
    settings = Settings(
        config=config,
        servers=picked,
        redis=pick_redis(config, None),
        rules=make_rules(address, **access),
        base=check_base(base_path),
        timeout=timeout,
        # If nobody has configured Redis and none answers, there is none, and nothing is wrong.
        find_present=PresentParts().turn_off_absent,
    )
    try:
        configure(config.log_format, config.log_file, stream=STDERR)
    except OSError as error:
        raise click.UsageError(
            f"cannot open log file {config.log_file}: {error.strerror}"
        ) from None
    with open_socket(address) as listening:
        port = listening.getsockname()[1]
        shown = f"[{address.host}]" if ":" in address.host else address.host
        print_line(f"the live page is at http://{shown}:{port}{settings.base}/", err=True)
        SystemdNotifier().send("READY=1")  # a connection from now on waits until it is accepted
        serve(settings, listening, get_logger("web"))
    return 0


def parse_address_option(text: str) -> Address:
    """Return the address to listen on. Port 0 picks a free one. Raises UsageError."""
    try:
        if text.endswith(":0"):
            return Address(text.removesuffix(":0").strip("[]"), 0)
        return parse_listen(text)
    except AddressError as error:
        raise click.UsageError(f"--listen: {error}") from None


def make_rules(
    address: Address,
    *,
    users: str | None,
    trusted_proxy: str | None,
    user_header: str | None,
    hosts: tuple[str, ...],
    allow_actions: bool,
) -> Any:
    """Return who gets in. Raises UsageError if everybody in the network would."""
    from beanwatch.web.access import Rules
    from beanwatch.web.users import UsersError, read_users

    if bool(trusted_proxy) != bool(user_header):
        raise click.UsageError("--trusted-proxy and --user-header need each other")
    is_loopback = address.host in ("127.0.0.1", "::1", "localhost")
    if not is_loopback and not users and not trusted_proxy:
        raise click.UsageError(
            f"--listen {address}: everybody who reaches this address could read your jobs; add "
            "--users FILE, or --trusted-proxy ADDRESS with --user-header NAME"
        )
    try:
        known = read_users(users) if users else None
    except UsersError as error:
        raise click.UsageError(f"--users: {error}") from None
    allowed = hosts or ((address.host,) if is_loopback else ())
    return Rules(allow_actions, known, trusted_proxy or "", user_header or "", allowed)


def check_base(path: str) -> str:
    """Return a base path as `/a/b`, or "". Raises UsageError."""
    path = path.strip("/")
    if path and not all(
        part.replace("-", "").replace("_", "").isalnum() and part.isascii()
        for part in path.split("/")
    ):
        raise click.UsageError("--base-path: expected a path of letters, digits, - and _")
    return f"/{path}" if path else ""


def open_socket(address: Address) -> socket.socket:
    """Return a socket that listens on an address.

    Raises ClickException if it is not free, or its host is not known. Both may pass by themselves,
    so the exit code must not be 2, after which systemd does not start the page again.
    """
    try:
        family, where = resolve(address.host, address.port, QUERY_TIMEOUT)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(where)
            listening.listen(128)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise click.ClickException(f"--listen: {describe_listen_error(address, error)}") from None
    return listening


def print_user(name: str, role: str, read: Callable[[], str] = sys.stdin.readline) -> int:
    """Print the line of a user. The password is not in the arguments, which others can see."""
    from beanwatch.web.users import make_entry

    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = read().rstrip("\n")
    try:
        print_line(make_entry(name, role, password))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return 0
