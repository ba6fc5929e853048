"""Write the dashboards and alert rules. With `--check`, only compare the files with the code."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardLink

from beanwatch.grafana.generator import alerts, fleet, queue, server, worker
from beanwatch.grafana.generator.lib import prometheus_rules, rule
from beanwatch.grafana.generator.lib.source import GRAPHITE, PROMETHEUS

HERE = Path(__file__).resolve().parent.parent  # grafana/


class _Encoder(JSONEncoder):
    def default(self, obj: Any) -> Any:
        if isinstance(obj, DashboardLink):
            # `placement` would move every link from the top of the page into a menu.
            return {key: value for key, value in obj.to_json().items() if key != "placement"}
        return super().default(obj)


def files() -> Iterator[tuple[Path, str]]:
    """Yield the path and the content of each generated file."""
    for source, folder in ((GRAPHITE, HERE), (PROMETHEUS, HERE / "prometheus")):
        for module in (fleet, queue, worker, server):
            dashboard = module.build(source)
            text = json.dumps(dashboard, cls=_Encoder, indent=2, ensure_ascii=False)
            yield folder / "dashboards" / f"{dashboard.uid}.json", text + "\n"
    yield HERE / "alerting" / "beanwatch-rules.yaml", rule.to_yaml(alerts.rules())
    rules = prometheus_rules.to_yaml(alerts.rules())
    yield HERE / "prometheus" / "beanwatch.rules.yml", rules


def main(arguments: list[str]) -> int:
    """Return the exit code: 1 if `--check` finds a file that differs, else 0."""
    changed = [
        (path, text)
        for path, text in files()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    check = arguments == ["--check"]
    for path, text in changed:
        if check:
            sys.stderr.write(f"{path}: not what the generator writes; run: make dashboards\n")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{path}\n")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
