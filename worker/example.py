"""An example application, which the demo and the tests run too.

    beanwatch worker beanwatch.worker.example:app --queue email.regular --name w1

Its jobs can be told to misbehave by their data: {"fail": true} raises, {"hang": 30} does not
end for so many seconds whatever the worker asks, {"seconds": 2} takes its time, and
{"crash": true} kills the worker.
"""

import os
import random
import time

import msgspec

from beanwatch.worker import App, Context

app = App(version="1.0")


class Trouble(msgspec.Struct, kw_only=True):
    """What every job of this example understands."""

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
    """Quick, and in great numbers."""
    work(email, 0.02)
    ctx.log.debug("sent to {to}", to=email.to)


@app.job("image.resize", timeout=5, max_attempts=3, backoff=1, on_timeout="bury")
def resize_image(ctx: Context, image: Image) -> None:
    """Uses a file, and some time."""
    (ctx.tmpdir / "resized").write_bytes(b"\0" * image.width)
    work(image, 0.1)


@app.job("report.build", timeout=60, max_attempts=2, backoff=2, on_timeout="bury")
def build_report(ctx: Context, report: Report) -> None:
    """Long; says how far it is."""
    for section in range(report.sections):
        ctx.note(f"section {section + 1} of {report.name}")
        ctx.progress(section, report.sections)
        work(report, 0.5 / report.sections)


def work(order: Trouble, usual: float) -> None:
    """Take about the usual time, or do what the data says."""
    if order.crash:
        os._exit(137)
    if order.fail:
        raise ConnectionError("the mail server answered 451: try again later")
    if order.hang:
        hang(order.hang)
    time.sleep(usual * random.uniform(0.5, 1.5) if order.seconds is None else order.seconds)


def hang(seconds: float) -> None:
    """Wait for somebody who does not answer, and let nothing interrupt it."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        try:
            time.sleep(left)
        except BaseException:  # noqa: S112 - this is what a hang is like
            continue
