"""The jobs of a shop, of which some go wrong, for the pictures."""

import time

import msgspec

from beanwatch.worker import App, Context

app = App(version="2026.11.3")


class Order(msgspec.Struct, kw_only=True):
    """The data of every job here. `seconds` is how long it takes."""

    order: int = 0
    to: str = ""
    seconds: float = 0.05
    is_broken: bool = False


@app.job("email.send", timeout=20, max_attempts=2, backoff=1)
def send_email(ctx: Context, order: Order) -> None:
    """Send an email, unless the mail server is asked for a reader that it does not know."""
    time.sleep(order.seconds)
    if order.is_broken:
        raise ConnectionError("451 mailbox of ann@example.org is full: try again later")


@app.job("invoice.render", timeout=20, max_attempts=1)
def render_invoice(ctx: Context, order: Order) -> None:
    """Render an invoice, unless its order has no address."""
    time.sleep(order.seconds)
    address = {} if order.is_broken else {"country": "DE"}
    ctx.note(f"order {order.order} to {address['country']}")


@app.job("image.resize", timeout=5, max_attempts=1, on_timeout="bury")
def resize_image(ctx: Context, order: Order) -> None:
    """Resize an image. A broken one takes very long, and ignores that its time is over."""
    end = time.monotonic() + (3600 if order.is_broken else order.seconds)
    while (left := end - time.monotonic()) > 0:
        try:
            time.sleep(left)
        except BaseException:
            continue


@app.job("report.build", timeout=600)
def build_report(ctx: Context, order: Order) -> None:
    """Build a report slowly, and say how far it is."""
    for done in range(3200):
        ctx.note("reading the orders of October")
        ctx.progress(done, 3200)
        time.sleep(0.1)
