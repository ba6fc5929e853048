"""Build the image of the docs: `python -m tests.container`. It needs the network for pip."""

import shutil
import tempfile
from pathlib import Path

from tests.container.image import IMAGE, WHEEL, Image, parse
from tests.container.page import read_application, read_containerfile


def main() -> None:
    """Do the steps of the Containerfile, with the wheel and the application."""
    shutil.rmtree(IMAGE, ignore_errors=True)
    with tempfile.TemporaryDirectory() as directory:
        context = Path(directory)
        for wheel in WHEEL.glob("beanwatch-*.whl"):
            shutil.copy(wheel, context)
        (context / "jobs.py").write_text(read_application())
        Image(IMAGE, parse(read_containerfile())).build(context)


if __name__ == "__main__":
    main()
