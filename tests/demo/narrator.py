"""The output of the demo: numbered chapters with short lines, and a live footer on a terminal."""

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from tests.demo.mailbox import Alert, Receipt

STYLES = {
    "OK": "green",
    "UP": "green",
    "WARNING": "yellow",
    "CRITICAL": "bold red",
    "DOWN": "bold red",
    "UNKNOWN": "magenta",
}
_INDENT = "   "


class Narrator:
    """Prints what the demo does. `chapters` is their number, for the progress bar."""

    def __init__(self, console: Console, chapters: int) -> None:
        self.console = console
        self._chapters = chapters
        self._chapter = 0
        self._progress = Progress(
            SpinnerColumn(style="cyan"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24, complete_style="cyan"),
            TextColumn("[dim]{task.fields[news]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID = self._progress.add_task("starting", total=chapters, news="")

    def close(self) -> None:
        self._progress.stop()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def title(self, title: str, subtitle: str) -> None:
        self._print(Text.assemble("\n", (title, "bold"), "  ", (subtitle, "dim")))

    def chapter(self, title: str) -> None:
        self._chapter += 1
        self._progress.update(self._task, completed=self._chapter - 1)
        self._print(Text.assemble("\n", (f"{self._chapter}  {title}", "bold cyan")))

    def did(self, what: str, detail: str = "") -> None:
        """Print a step that is done."""
        self._print(Text.assemble(_INDENT, ("✓ ", "green"), f"{what:<16}", (detail, "dim")))

    def types(self, argv: Sequence[str], times: int = 1) -> None:
        """Print a command that runs now."""
        often = f"   # {times} times" if times > 1 else ""
        self._print(Text.assemble(_INDENT, "  ", (f"$ {shlex.join(argv)}{often}", "dim")))

    def logged(self, message: str) -> None:
        self._tell(Text.assemble(("log: ", "dim"), message))

    def breaks(self, text: str) -> None:
        self._print(Text.assemble(_INDENT, ("✗ ", "red"), text))

    def failed(self, text: str) -> None:
        self._print(Text.assemble(_INDENT, ("✗ ", "bold red"), (text, "bold red")))

    def fixes(self, text: str) -> None:
        self._print(Text.assemble(_INDENT, ("✓ ", "green"), text))

    def alert(self, alert: Alert) -> None:
        """Print an alert as the person who is paged gets it."""
        where = f"{alert.host} / {alert.service}" if alert.service else alert.host
        style = STYLES.get(alert.state, "")
        self._print(
            Text.assemble(
                f"{_INDENT}{_INDENT}",
                (f"✉ {alert.kind} ", "bold"),
                (where, "bold"),
                " is ",
                (alert.state, style),
            )
        )
        self._tell(Text(alert.reason))
        if alert.kind == "PROBLEM" and alert.runbook:
            self._tell(Text(alert.runbook, "dim"))

    def news(self, text: str) -> None:
        """Show this text at the right end of the footer."""
        self._progress.update(self._task, news=text)

    def waits_for(self, what: str) -> None:
        """Show at the left end of the footer what the demo waits for."""
        self._progress.update(self._task, description=what)

    def scores(self, receipts: Mapping[str, Sequence[Receipt]], others: Iterable[Alert]) -> None:
        """Print a table: a row for each expected alert, and one for each kind of other alert."""
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for no_wrap in (False, True, True, True):
            table.add_column(no_wrap=no_wrap)
        for title, of_scene in receipts.items():
            heading = title
            for receipt in of_scene:
                expected = receipt.expected
                table.add_row(
                    _INDENT + heading,
                    Text(expected.state, STYLES[expected.state]),
                    expected.service,
                    Text(f"✓ after {receipt.seconds:4.1f} s", "green")
                    if receipt.alert
                    else Text("✗ did not arrive", "bold red"),
                )
                heading = ""
        heading = "other alerts"
        for (state, service), times in Counter((one.state, one.service) for one in others).items():
            often = "arrived too" if times == 1 else f"arrived {times} times"
            table.add_row(_INDENT + heading, Text(state, STYLES.get(state, "")), service, often)
            heading = ""
        self.console.print(table)

    def files(self, what: str, paths: Iterable[Path | str]) -> None:
        for path in paths:
            self._print(Text.assemble(_INDENT, f"{what:<22}", str(path)))
            what = ""

    def end(self, text: str, good: bool) -> None:
        self._progress.update(self._task, completed=self._chapters)
        self._print(Text.assemble("\n", (text, "bold green" if good else "bold red"), "\n"))

    def _tell(self, text: Text) -> None:
        """Print a detail of the line above: indented, and wrapped on a terminal."""
        if self.console.is_terminal:
            self.console.print(Padding(text, (0, 0, 0, 8)), highlight=False)
        else:
            self._print(Text.assemble(" " * 8, text))

    def _print(self, text: Text) -> None:
        # soft_wrap keeps paths and links in one piece, so that they can be clicked or copied.
        self.console.print(text, soft_wrap=True, highlight=False)
