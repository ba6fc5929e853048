"""Signs commands with a shared secret, and checks the signatures of received commands.

beanstalkd has no passwords: whoever reaches it can put a job into a control queue. A worker with a
secret carries out only commands that carry an HMAC-SHA256 (RFC 2104) made with the same secret.

The signature covers the whole command, the control queue, a random nonce and the time of signing.
So a copy of a signed command does not work: not a second time (the nonce), not for another worker
(the queue), and not for a later instance of the worker (`check_instance`). A command that somebody
held back works for MAX_CLOCK_DIFFERENCE seconds only.
"""

import hashlib
import hmac
import secrets
import time

import msgspec

from beanwatch.worker.control.messages import Message

# Seconds. A signature is invalid if the clocks of its sender and of the worker differ by more.
MAX_CLOCK_DIFFERENCE = 300.0
MAX_NONCES = 1000  # signatures that a worker remembers, so that nobody can use them again
HARMLESS = ("status", "dump")  # the commands that change nothing, so that copies do no harm


class SignatureError(Exception):
    """Raised for a command without a valid signature; the text gives the reason."""


class _Signed(msgspec.Struct, frozen=True):
    """The body of a job with a signed command. `hmac` (hexadecimal) is that of the text `signed`.

    `signed` is JSON, in a string: so the signature covers the very bytes that are parsed.
    """

    signed: str
    hmac: str


class _Content(msgspec.Struct, frozen=True):
    """The signed text. `at` is in seconds since the epoch; `command` is a `Message`."""

    queue: str
    nonce: str
    at: float
    command: msgspec.Raw


_signed_decoder = msgspec.json.Decoder(_Signed)
_content_decoder = msgspec.json.Decoder(_Content)


def sign(command: bytes, queue: str, secret: bytes, *, now: float | None = None) -> bytes:
    """Return the body of a job with a signed command.

    `command` is an encoded `Message`, `queue` the control queue that the job is put into. `now` is
    in seconds since the epoch.
    """
    at = time.time() if now is None else now
    content = _Content(queue, secrets.token_hex(16), at, msgspec.Raw(command))
    signed = msgspec.json.encode(content)
    return msgspec.json.encode(_Signed(signed.decode(), _mac(secret, signed)))


class SignatureChecker:
    """Checks the signatures of the commands that one instance of a worker receives.

    `queue` is the worker's control queue. With an empty `secret`, all commands are accepted.
    """

    def __init__(self, secret: bytes, queue: str) -> None:
        self._secret, self._queue = secret, queue
        self._nonces: dict[str, float] = {}  # time of signing by nonce
        self._newest_forgotten = 0.0  # time of signing

    def check(self, body: bytes, now: float) -> tuple[bytes, str]:
        """Return the command in a job's body, and why it is refused ("": it is not).

        `now` is in seconds since the epoch. The command is an encoded `Message`, or anything else
        that somebody has put into the queue.
        """
        try:
            signed = _signed_decoder.decode(body)
            content = _content_decoder.decode(signed.signed)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return body, "it is not signed" if self._secret else ""
        try:
            if self._secret:
                self._verify(signed, content, now)
        except SignatureError as error:
            return bytes(content.command), str(error)
        return bytes(content.command), ""

    def check_instance(self, message: Message) -> str:
        """Return why a command without the worker's instance is refused ("": it is not).

        After a restart, a worker no longer knows the nonces. So a signed command must name the
        instance, or a copy of it could stop the next instance, too.
        """
        if self._secret and not message.instance and message.command not in HARMLESS:
            return "it names no instance of this worker"
        return ""

    def _verify(self, signed: _Signed, content: _Content, now: float) -> None:
        text = signed.signed.encode()
        if not hmac.compare_digest(_mac(self._secret, text).encode(), signed.hmac.encode()):
            raise SignatureError("its signature was made with another secret, or it was changed")
        if content.queue != self._queue:
            raise SignatureError(f"it was signed for another queue, {content.queue}")
        if abs(content.at - now) > MAX_CLOCK_DIFFERENCE:
            side = "before" if content.at < now else "after"
            raise SignatureError(
                f"it was signed {abs(content.at - now):.0f} s {side} this worker's time, at most "
                f"{MAX_CLOCK_DIFFERENCE:.0f} s are allowed: compare the clocks of both hosts"
            )
        if content.nonce in self._nonces or content.at <= self._newest_forgotten:
            raise SignatureError("it is a copy of an earlier command")
        self._remember(content.nonce, content.at, now)

    def _remember(self, nonce: str, at: float, now: float) -> None:
        """Remember a nonce. Forget those that the time makes invalid, and the oldest of too many.

        Commands that were signed no later than a forgotten one are refused from then on. So a clock
        that was set back makes no old command valid.
        """
        self._nonces[nonce] = at
        for old, signed_at in sorted(self._nonces.items(), key=lambda item: item[1]):
            if len(self._nonces) <= MAX_NONCES and signed_at >= now - MAX_CLOCK_DIFFERENCE:
                break
            del self._nonces[old]
            self._newest_forgotten = max(self._newest_forgotten, signed_at)


def _mac(secret: bytes, text: bytes) -> str:
    return hmac.new(secret, text, hashlib.sha256).hexdigest()
