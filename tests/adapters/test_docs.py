"""What docs/adapters.md shows is typed here: each worker starts, and is idle."""

import os
import re
from contextlib import ExitStack
from pathlib import Path

from tests.adapters.brokers import Brokers
from tests.adapters.situations import Stage
from tests.adapters.workers import ForeignWorker, Kind, Records
from tests.real import ROOT, spawn

PAGE = ROOT / "docs" / "adapters.md"
VENVS = {"celery": "celery-5", "rq": "rq-3", "dramatiq": "dramatiq-2"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


class Shown(ForeignWorker):
    """A worker whose command is typed in a shell, next to the files that the page shows."""

    def start(self) -> None:
        for text in blocks("python"):
            name = text.partition("\n")[0].removeprefix("# ")
            (self.directory / name).write_text(text)
        (command,) = self.kind.command
        environment = self.environment(self.proxy.port)
        path = f"{ROOT / '.adapters' / self.kind.venv / 'bin'}:{os.environ['PATH']}"
        environment |= {"PATH": path, "PYTHONPATH": f"{ROOT / 'src'}:{self.directory}"}
        # `spawn` sets a PATH of its own for servers.
        line = f'export PATH="{path}"; exec {command}'
        self._process = spawn(["sh", "-c", line], log=self.log, env=environment, cwd=self.directory)


def test_the_commands_of_the_page_start_workers_that_are_watched(
    brokers: Brokers, tmp_path: Path
) -> None:
    commands = {line.split()[0]: line.strip() for line in blocks("sh")}
    assert set(commands) == set(VENVS)
    own = next(line for line in blocks("python") if line.startswith("# workers.py"))
    assert "class Worker(Watched, RoundRobinWorker)" in own
    commands["workers"] = commands["rq"].replace("beanwatch.worker.adapters.rq", "workers")
    names = {"celery": "shop", "rq": "rq", "dramatiq": "orders", "workers": "mail"}
    with ExitStack() as stack:
        stages = []
        for number, (program, command) in enumerate(commands.items()):
            kind = Kind(program, VENVS.get(program, "rq-3"), "", [command])
            broker = f"redis://127.0.0.1:{{port}}/{8 + number}"
            port, url = brokers.redis.port, brokers.own.url
            worker = Shown(kind, broker, port, url, tmp_path / program, names[program])
            stages.append(Stage(stack.enter_context(worker), Records(url), url))
        for stage in stages:
            stage.become_idle()
