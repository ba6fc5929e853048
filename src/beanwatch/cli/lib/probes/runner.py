"""Run probes at the same time, and show which of them have not ended yet."""

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from beanwatch.cli.lib.probes.finding import Finding
from beanwatch.quoting import terminal_text

Probe = Callable[[], Iterable[Finding]]


def run_all(
    probes: Mapping[str, Probe], wait: float, finished: Callable[[str], object]
) -> list[Finding]:
    """Run all probes, each in its own thread, and return their findings in the probes' order.

    A probe that has not ended after `wait` seconds gets a finding, and its thread is left running:
    a name lookup that hangs cannot be interrupted. `finished` is called with each probe's name.
    """
    done: queue.SimpleQueue[tuple[str, list[Finding]]] = queue.SimpleQueue()

    def run(name: str, probe: Probe) -> None:
        try:
            done.put((name, list(probe())))
        except Exception as error:
            text = f"internal error of beanwatch, please report it: {type(error).__name__}: {error}"
            done.put((name, [Finding(name, "failed", text)]))

    for name, probe in probes.items():
        threading.Thread(target=run, args=(name, probe), daemon=True).start()
    end = time.monotonic() + wait
    found: dict[str, list[Finding]] = {}
    while len(found) < len(probes):
        try:
            name, findings = done.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            break
        found[name] = findings
        finished(name)
    silent = f"the test did not end within {wait:g} s"
    cure = "check that the name of its host can be resolved: getent hosts NAME"
    unfinished = {name: [Finding(name, "failed", silent, cure)] for name in probes}
    return [finding for name in probes for finding in found.get(name, unfinished[name])]


class show_progress:  # noqa: N801 - used as `with show_progress(names) as finished`
    """Shows on a terminal which probes have not ended yet. If stderr is no terminal, does nothing.

    `with` returns a function, to be called with the name of each probe that has ended.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._left = list(names)
        self._shown = sys.stderr.isatty()

    def __enter__(self) -> Callable[[str], object]:
        if not self._shown:
            return self._left.remove
        from rich.console import Console

        self._status = Console(stderr=True).status("testing")
        self._status.start()
        return self._finished

    def _finished(self, name: str) -> None:
        from rich.text import Text

        self._left.remove(name)
        # In a str, rich would read `[red]` as markup.
        self._status.update(Text(terminal_text(f"testing {', '.join(self._left)}")))

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._status.stop()
