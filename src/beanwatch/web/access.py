"""Decides who may see the page and who may act, and sends the headers that protect it."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from beanwatch.web.users import DUMMY_HASH, NO_PASSWORD, User, check_password

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
OPEN_PATHS = ("/livez", "/readyz")  # for probes: they say nothing about jobs
MAX_FAILURES = 5  # wrong passwords of one user from one address within a minute
MAX_ADDRESS_FAILURES = 30  # wrong passwords from one address within a minute
FAILURE_WINDOW = 60.0  # seconds
MAX_COUNTED = 2_000  # addresses and users whose failures are counted
MAX_KNOWN = 500  # logins that need not be checked again
KNOWN_FOR = 300.0  # seconds
MAX_CHECKING = 2  # passwords that are checked at once: each takes 16 MiB
MAX_PASSWORD = 1_000  # characters

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Viewer(NamedTuple):
    """A person who looks at pages: a name ("" without a login), and whether they may act."""

    name: str = ""
    may_act: bool = False


class Rules(NamedTuple):
    """The conditions on which people get in.

    `users` is None if everybody who can connect gets in, as on loopback. `proxy` is the address of
    the only peer whose `user_header` is believed. `hosts` are the names under which the page is
    reached, besides those of loopback; an empty list allows every name.
    """

    allow_actions: bool = False
    users: Mapping[str, User] | None = None
    proxy: str = ""
    user_header: str = ""
    hosts: Sequence[str] = ()


class Denied(Exception):  # noqa: N818 - it is an answer
    """A request is refused; holds the answer."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.response = PlainTextResponse(f"{text}\n", status, headers)


class FailureCounter:
    """Counts wrong passwords by key within the last minute, for at most MAX_COUNTED keys."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: OrderedDict[str, list[float]] = OrderedDict()

    def count(self, key: str) -> int:
        """Return the number of failures within the last minute."""
        now = self._clock()
        recent = [at for at in self._failed.get(key, ()) if now - at < FAILURE_WINDOW]
        if recent:
            self._failed[key] = recent
        else:
            self._failed.pop(key, None)
        return len(recent)

    def add(self, key: str) -> None:
        """Count a failure."""
        self._failed.setdefault(key, []).append(self._clock())
        self._failed.move_to_end(key)
        del self._failed[key][:-MAX_ADDRESS_FAILURES]
        while len(self._failed) > MAX_COUNTED:
            self._failed.popitem(last=False)


class Gate:
    """Finds out who sends a request. `log` gets a text for each refused login."""

    def __init__(
        self,
        rules: Rules,
        log: Callable[[str], object] = lambda _: None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rules = rules
        self._log, self._clock = log, clock
        self._failures = FailureCounter(clock)
        self._secret = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, tuple[float, Viewer]] = OrderedDict()
        self._checking = asyncio.Semaphore(MAX_CHECKING)

    async def identify(self, headers: Mapping[str, str], peer: str) -> Viewer:
        """Return who sends a request with these headers from the address `peer`. Raises Denied."""
        rules = self.rules
        self._check_host(headers.get("host", ""))
        if rules.proxy:
            return self._from_proxy(headers, peer)
        if rules.users is None:
            return Viewer("", rules.allow_actions)
        return await self._log_in(headers.get("authorization", ""), peer)

    def check_origin(self, headers: Mapping[str, str]) -> None:
        """Refuse a request that another site made a browser send. Raises Denied.

        A browser says where a request comes from: in `Sec-Fetch-Site` on HTTPS and on loopback, in
        `Origin` everywhere. A program that sends neither must add one of them.
        """
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is not None and site != "same-origin":
            raise Denied(403, "this request comes from another site, so nothing was done")
        if (
            origin is not None
            and origin.partition("://")[2].lower() != headers.get("host", "").lower()
        ):
            raise Denied(403, "this request comes from another origin, so nothing was done")
        if site is None and origin is None:
            raise Denied(403, "this request has neither Sec-Fetch-Site nor Origin")

    def _check_host(self, host: str) -> None:
        """Refuse other names than ours: a foreign name may lead a browser to this address."""
        if not self.rules.hosts:
            return
        name = host.rpartition(":")[0] if host[-1:] != "]" and ":" in host else host
        if name.lower() not in (*LOOPBACK_HOSTS, *(one.lower() for one in self.rules.hosts)):
            raise Denied(421, "this name is not one of this page's; allow it with --host NAME")

    def _from_proxy(self, headers: Mapping[str, str], peer: str) -> Viewer:
        if peer != self.rules.proxy:
            raise Denied(403, "only the proxy may connect to this page")
        name = headers.get(self.rules.user_header.lower(), "").strip()[:200]
        if not name:
            raise Denied(403, "the proxy named no user")
        if self.rules.users is None:
            return Viewer(name, self.rules.allow_actions)
        user = self.rules.users.get(name)
        if user is None:
            raise Denied(403, "this user is not in the file of users")
        return self._viewer(user)

    def _viewer(self, user: User) -> Viewer:
        return Viewer(user.name, self.rules.allow_actions and user.role == "act")

    async def _log_in(self, authorization: str, peer: str) -> Viewer:
        ask = {"www-authenticate": 'Basic realm="beanwatch", charset="UTF-8"'}
        name, password = parse_basic(authorization)
        if not name:
            raise Denied(401, "log in with a name and a password", ask)
        digest = hmac.digest(self._secret, authorization.encode("utf-8", "replace"), hashlib.sha256)
        known = self._known.get(digest)
        if known and self._clock() - known[0] < KNOWN_FOR:
            return known[1]
        keys = {f"{peer} {name}": MAX_FAILURES, peer: MAX_ADDRESS_FAILURES}
        user = (self.rules.users or {}).get(name)
        hashed = user.hash if user and user.hash != NO_PASSWORD else DUMMY_HASH
        async with self._checking:
            # Here, because others may have failed while this one waited for its turn.
            if any(self._failures.count(key) >= most for key, most in keys.items()):
                wait = {"retry-after": str(int(FAILURE_WINDOW))}
                raise Denied(429, "too many wrong passwords; wait a minute", wait)
            is_right = await asyncio.to_thread(check_password, password, hashed)
        if user is None or not is_right or hashed == DUMMY_HASH:
            for key in keys:
                self._failures.add(key)
            self._log(f"refused a login as {name[:64]!r} from {peer}")
            raise Denied(401, "the name or the password is wrong", ask)
        viewer = self._viewer(user)
        self._known[digest] = self._clock(), viewer
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return viewer


def parse_basic(authorization: str) -> tuple[str, str]:
    """Return the name and the password of a header of HTTP's Basic scheme; "" if it is none."""
    scheme, _, text = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        decoded = base64.b64decode(text, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return "", ""
    name, _, password = decoded.partition(":")
    return name, password[:MAX_PASSWORD]


class Guard:
    """Lets requests pass to `app` if `gate` does, and adds the protecting headers to each answer.

    The viewer is in `scope["state"]["viewer"]`.
    """

    def __init__(self, app: ASGIApp, gate: Gate, base: str = "") -> None:
        self._app, self._gate = app, gate
        self._open = [base + path for path in OPEN_PATHS]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *_ENCODED]}
            await send(message)

        try:
            await self._admit(scope)
        except Denied as denied:
            await denied.response(scope, receive, protected)
            return
        await self._app(scope, receive, protected)

    async def _admit(self, scope: Scope) -> None:
        if scope["path"] in self._open and scope["method"] in ("GET", "HEAD"):
            return
        headers = decode_headers(scope)
        peer = (scope.get("client") or ("", 0))[0]
        viewer = await self._gate.identify(headers, peer)
        if scope["method"] not in ("GET", "HEAD"):
            self._gate.check_origin(headers)
        scope.setdefault("state", {})["viewer"] = viewer


def decode_headers(scope: Scope) -> dict[str, str]:
    """Return the headers of a request by their names in small letters.

    A header that is there twice counts as the last one; servers in front of this one join them.
    """
    found: dict[str, Any] = {}
    for name, value in scope["headers"]:
        found[name.decode("latin-1").lower()] = value.decode("latin-1")
    return found


_ENCODED = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
