"""Take the pictures of the live page in docs/img: python -m tests.pictures [DIRECTORY]."""

import sys
import tempfile
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import quote

from tests.pictures.fleet import Fleet
from tests.real import ROOT
from tests.real.browser import open_browser, take_picture

WIDE, NARROW = 1200, 390  # pixels
SCREEN = 844  # pixels: the height of a phone


class Picture(NamedTuple):
    """A page, how wide it is and how high at most (pixels), and what `take_picture` needs."""

    path: str
    width: int = WIDE
    most: int = 2_000
    scheme: Literal["light", "dark"] = "light"
    until: str = "main"
    click: str = ""


PICTURES = {
    "web-overview": Picture("/", until="#queues"),
    "web-overview-phone": Picture("/", NARROW, SCREEN, "dark"),
    "web-queue": Picture("/queue?server=orders&name=email.newsletter", scheme="dark"),
    "web-queues-phone": Picture("/queues?only=wrong", NARROW, SCREEN),
    "web-workers": Picture("/workers", scheme="dark"),
    "web-worker": Picture("/worker?id=media1.images"),
    "web-failures": Picture("/failures"),
    "web-failure": Picture("/failure?id={failure}", scheme="dark"),
    "web-checks": Picture("/checks?state=critical", click="summary:has-text('consumers')"),
}


def main(directory: Path) -> None:
    """Start the fleet, cause the trouble, and take all pictures."""
    with (
        tempfile.TemporaryDirectory(prefix="shop-") as place,
        Fleet(Path(place)) as fleet,
        open_browser() as browser,
    ):
        fleet.start()
        fleet.cause_trouble()
        failures = fleet.page.json("/failures?group=no&queue=invoices")["failures"]
        failure = quote(failures[0]["id"])
        for name, picture in PICTURES.items():
            path, width, most, scheme, until, click = picture
            url = fleet.page.url + path.format(failure=failure)
            file = directory / f"{name}.png"
            take_picture(browser, url, file, width, most, scheme, until=until, click=click)
            print(f"{file}  {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "img")
