"""An application with decoders that go wrong in every possible way: their format is `word text`."""

import os
import signal
import time
from typing import Any

from beanwatch.worker import App, Context, Envelope, EnvelopeError, ForeignEnvelope
from beanwatch.worker.api.envelope import raw_data
from beanwatch.worker.decoders import decode_laravel

app = App()
app.decoder(decode_laravel)


@app.decoder
def decode_words(body: bytes) -> Any:
    word, _, text = body.decode().partition(" ")
    match word:
        case "plain":
            return Envelope("echo", raw_data({"text": text}), id="plain-1")
        case "limited":
            return ForeignEnvelope(job="fail", data={"text": text}, max_attempts=2, backoff=(0.0,))
        case "refused":
            return ForeignEnvelope(job="echo", id=text, refusal="nobody may run it")
        case "unreadable":
            raise EnvelopeError("nobody can read it")
        case "broken":
            raise KeyError(text)
        case "number":
            return 7
        case "nameless":
            return Envelope("", id="a b")
        case "exit":
            raise SystemExit(3)
        case "hang":
            time.sleep(60)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
    return None


@app.job("echo")
def echo(ctx: Context, data: dict[str, str]) -> None:
    ctx.log.info("echo {text}", text=data["text"])


@app.job("fail")
def fail(ctx: Context, data: dict[str, str]) -> None:
    raise RuntimeError("it does not work")


@app.job("App\\Jobs\\SendInvoice")
def send_invoice(ctx: Context, data: dict[str, Any]) -> None:
    ctx.log.info("invoice", data=data)


@app.job("App\\Jobs\\Limited")
def limited(ctx: Context, data: dict[str, Any]) -> None:
    if data["file"] == "hang":
        time.sleep(60)
    raise RuntimeError("it does not work")


@app.job("App\\Jobs\\Expiring", max_attempts=1, backoff=0)
def expire(ctx: Context, data: dict[str, Any]) -> None:
    raise RuntimeError("it does not work")


@app.job("Mail@send")
def send_mail(ctx: Context, data: dict[str, int]) -> None:
    ctx.log.info("mail", data=data)
