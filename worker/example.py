"""An example application. The demo and the tests use it too.

    beanwatch worker beanwatch.worker.example:app --queue email.regular --name w1

The data of a job can make it misbehave: {"fail": true} raises an exception, {"hang": 30} ignores
every interruption for 30 seconds, {"seconds": 2} sets how long the job takes, and {"crash": true}
kills the worker.
"""

import os
import random
import time

import msgspec

from beanwatch.worker import App, Context

app = App(version="1.0")


class Trouble(msgspec.Struct, kw_only=True):
    """The fields that every job of this example understands."""

    seconds: float | None = None
    fail: bool = False
    hang: float = 0.0
    crash: bool = False


class Email(Trouble):
    """An email to send."""

    to: str = "somebody@example.org"
    subject: str = ""


class Image(Trouble):
    """An image to resize."""

    path: str = "image.jpg"
    width: int = 800


class Report(Trouble):
    """A report over several sections."""

    name: str = "sales"
    sections: int = 5


@app.job("email.send", timeout=10, max_attempts=3, backoff=1)
def send_email(ctx: Context, email: Email) -> None:
    """A quick job, of which there are many."""
    work(email, 0.02)
    ctx.log.debug("sent to {to}", to=email.to)


@app.job("image.resize", timeout=5, max_attempts=3, backoff=1, on_timeout="bury")
def resize_image(ctx: Context, image: Image) -> None:
    """A job that writes a temporary file."""
    (ctx.tmpdir / "resized").write_bytes(b"\0" * image.width)
    work(image, 0.1)


@app.job("report.build", timeout=60, max_attempts=2, backoff=2, on_timeout="bury")
def build_report(ctx: Context, report: Report) -> None:
    """A long job that reports its progress."""
    for section in range(report.sections):
        ctx.note(f"section {section + 1} of {report.name}")
        ctx.progress(section, report.sections)
        work(report, 0.5 / report.sections)


def work(order: Trouble, usual: float) -> None:
    """Take about the usual time (seconds), or do what the data says."""
    if order.crash:
        os._exit(137)
    if order.fail:
        raise ConnectionError("the mail server answered 451: try again later")
    if order.hang:
        hang(order.hang)
    time.sleep(usual * random.uniform(0.5, 1.5) if order.seconds is None else order.seconds)


def hang(seconds: float) -> None:
    """Wait, and let nothing interrupt the wait."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        try:
            time.sleep(left)
        except BaseException:  # noqa: S112 - a hanging job ignores it
            continue
