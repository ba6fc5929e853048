"""Write the dashboards and the alert rules, or with `--check` compare the files with the code."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardLink

from beanwatch.grafana.generator import alerts, fleet, queue, server, worker
from beanwatch.grafana.generator.lib import rule

HERE = Path(__file__).resolve().parent.parent  # grafana/


class _Encoder(JSONEncoder):
    def default(self, obj: Any) -> Any:
        if isinstance(obj, DashboardLink):
            # The SDK would put every link into a menu, where nobody looks for it.
            return {key: value for key, value in obj.to_json().items() if key != "placement"}
        return super().default(obj)


def files() -> Iterator[tuple[Path, str]]:
    """Every generated file and its content."""
    for module in (fleet, queue, worker, server):
        dashboard = module.build()
        text = json.dumps(dashboard, cls=_Encoder, indent=2, ensure_ascii=False)
        yield HERE / "dashboards" / f"{dashboard.uid}.json", text + "\n"
    yield HERE / "alerting" / "beanwatch-rules.yaml", rule.to_yaml(alerts.rules())


def main(arguments: list[str]) -> int:
    """Exit 0: all files are written or up to date; 1: one differs (`--check`)."""
    changed = [
        (path, text)
        for path, text in files()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    check = arguments == ["--check"]
    for path, text in changed:
        if check:
            sys.stderr.write(f"{path}: differs from what the code makes; run: make dashboards\n")
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{path}\n")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
