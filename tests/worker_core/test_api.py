"""The public API: typed as documented; wrong use is an error when the application is imported."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from beanwatch.worker import App
from tests.real import ROOT

USE = """
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from beanwatch.worker import App, Context, FollowUp, ForeignEnvelope, Retry
from beanwatch.worker.decoders import decode_laravel

app = App(version="1")

@dataclass
class Mail:
    to: str

@app.job("mail", timeout=3, max_attempts=3, backoff=lambda n: n * 2.0, on_timeout="bury")
def send(ctx: Context, data: Mail) -> None:
    directory: Path = ctx.tmpdir
    ctx.note("x")
    ctx.progress(1, 2)
    new_id: str = ctx.put("queue", "job", {"a": 1}, success=FollowUp("t", "j"))
    ctx.log.info("{id}", id=new_id)
    raise Retry(1.5)

@app.job("later")
async def later(ctx: Context, data: dict[str, int]) -> None: ...

@app.resource("db", max_idle=30)
@contextmanager
def database() -> Iterator[int]:
    yield 1

app.decoder(decode_laravel)

@app.decoder
def decode(body: bytes) -> ForeignEnvelope | None:
    return ForeignEnvelope(job="mail", data={"to": "ann"}, timeout=3, backoff=(1, 2))

@app.before_job
def before(ctx: Context) -> None: ...

reveal_type(send)
reveal_type(later)
"""
MISUSE = """
from beanwatch.worker import App, Context
app = App()

@app.job("a", on_timeout="explode")
def a(ctx: Context, data: object) -> None:
    ctx.progress("half")
    ctx.nothing
"""


def run_mypy(tmp_path: Path, source: str) -> str:
    file = tmp_path / "use.py"
    file.write_text(source)
    done = subprocess.run(
        [ROOT / ".venv/bin/mypy", "--strict", "--config-file", "/dev/null",
         "--cache-dir", tmp_path / "cache", file],
        capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False,
    )  # fmt: skip
    return done.stdout


def test_the_documented_use_passes_a_strict_type_check(tmp_path: Path) -> None:
    found = run_mypy(tmp_path, USE)
    assert "error" not in found
    assert 'def (ctx: beanwatch.worker.api.context.Context, data: use.Mail)"' in found
    assert "Coroutine[Any, Any, None]" in found


def test_misuse_does_not(tmp_path: Path) -> None:
    found = run_mypy(tmp_path, MISUSE)
    assert "on_timeout" in found
    assert 'has incompatible type "str"; expected "int"' in found
    assert 'has no attribute "nothing"' in found


def test_two_handlers_of_one_name_are_an_error() -> None:
    app = App()
    app.job("a")(lambda ctx, data: None)
    with pytest.raises(ValueError, match="job 'a' already has a handler"):
        app.job("a")(lambda ctx, data: None)


def test_a_handler_that_takes_no_data_is_an_error() -> None:
    with pytest.raises(
        TypeError,
        match=r"job 'a': cannot use the handler: it must take two parameters: \(ctx, data\)",
    ):
        App().job("a")(lambda ctx: None)


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("inf"), float("nan"), 1e9])
def test_a_timeout_that_cannot_be_kept_is_an_error(timeout: float) -> None:
    with pytest.raises(ValueError, match="more than 0 and less than 1e"):
        App().job("a", timeout=timeout)(lambda ctx, data: None)


def test_an_annotation_that_cannot_be_checked_is_an_error() -> None:
    def handler(ctx: Any, data: "Unknown") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(
        TypeError, match="job 'a': cannot use the handler: its annotations cannot be read"
    ):
        App().job("a")(handler)
