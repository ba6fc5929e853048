"""The real Chromium of Debian, driven by Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FloatRect

PROGRAM = "chromium"
MARGIN = 20  # pixels below the last element of a picture
# The tests run as root, on machines without a graphics card. Grey letters make small pictures.
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    *("--hide-scrollbars", "--disable-lcd-text"),
]


def is_installed() -> bool:
    """Return True if Chromium and its driver are here: the demo installs neither."""
    return bool(shutil.which(PROGRAM) and find_spec("playwright"))


@contextmanager
def open_browser() -> Iterator["Browser"]:
    """Start Chromium without a window. At the end it is closed."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which(PROGRAM), args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def take_picture(
    browser: "Browser",
    url: str,
    file: Path,
    width: int,
    most: int = 2_000,
    scheme: Literal["light", "dark"] = "light",
    *,
    until: str = "body",
    click: str = "",
) -> Path:
    """Take a picture of the live page when it is live: to the end of the element `until`.

    `until` and `click`, which is clicked before, are selectors. The picture is at most `most`
    pixels high.
    """
    page = browser.new_page(viewport={"width": width, "height": 500}, color_scheme=scheme)
    page.goto(url)
    page.locator("#pulse.live").wait_for()
    if click:
        page.locator(click).first.click()
    end = page.locator(until).evaluate("node => node.getBoundingClientRect().bottom + scrollY")
    height = min(most, end + MARGIN)
    clip: FloatRect = {"x": 0, "y": 0, "width": width, "height": height}
    page.screenshot(path=file, clip=clip, full_page=True)
    page.close()
    return file
