"""An example application of three jobs. The demo and the tests use it too.

    beanwatch worker beanwatch.worker.example:app --queue email.regular --name w1

A job's data can make it misbehave: {"fail": true} raises an exception, {"hang": 30} ignores every
interruption for 30 seconds, {"seconds": 2} sets the job's duration, and {"crash": true} kills the
worker.
"""

import os
import random
import time

import msgspec

from beanwatch.worker import App, Context

app = App(version="1.0")


class Misbehaviour(msgspec.Struct, kw_only=True):
    """The fields that make any job slow, fail, hang or crash; times are in seconds."""

    seconds: float | None = None
    fail: bool = False
    hang: float = 0.0
    crash: bool = False


class Email(Misbehaviour):
    """The data of the job `email.send`."""

    to: str = "somebody@example.org"
    subject: str = ""


class Image(Misbehaviour):
    """The data of the job `image.resize`."""

    path: str = "image.jpg"
    width: int = 800


class Report(Misbehaviour):
    """The data of the job `report.build`."""

    name: str = "sales"
    sections: int = 5


@app.job("email.send", timeout=10, max_attempts=3, backoff=1)
def send_email(ctx: Context, email: Email) -> None:
    """Pretend to send an email, in about 20 ms."""
    work(email, 0.02)
    ctx.log.debug("sent to {to}", to=email.to)


@app.job("image.resize", timeout=5, max_attempts=3, backoff=1, on_timeout="bury")
def resize_image(ctx: Context, image: Image) -> None:
    """Write a temporary file, and pretend to resize an image, in about 100 ms."""
    (ctx.tmpdir / "resized").write_bytes(b"\0" * image.width)
    work(image, 0.1)


@app.job("report.build", timeout=60, max_attempts=2, backoff=2, on_timeout="bury")
def build_report(ctx: Context, report: Report) -> None:
    """Pretend to build a report, in about 500 ms, and show the progress in the heartbeat."""
    for section in range(report.sections):
        ctx.note(f"section {section + 1} of {report.name}")
        ctx.progress(section, report.sections)
        work(report, 0.5 / report.sections)


def work(data: Misbehaviour, usual: float) -> None:
    """Sleep for about `usual` seconds, or misbehave as `data` says."""
    if data.crash:
        os._exit(137)
    if data.fail:
        raise ConnectionError("the mail server answered 451: try again later")
    if data.hang:
        hang(data.hang)
    time.sleep(usual * random.uniform(0.5, 1.5) if data.seconds is None else data.seconds)


def hang(seconds: float) -> None:
    """Sleep for `seconds`, and ignore every exception that interrupts the sleep."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        try:
            time.sleep(left)
        except BaseException:  # noqa: S112 - a job that hangs ignores it
            continue
