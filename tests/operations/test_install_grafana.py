"""What `beanwatch install grafana` places is what the files of it point to."""

from collections.abc import Callable
from pathlib import Path

import yaml

Run = Callable[..., tuple[int, str, str]]


def test_the_dashboards_lie_where_their_provider_looks(run: Run, tmp_path: Path) -> None:
    assert run("beanwatch", "install", "grafana", "--dest", tmp_path)[0] == 0
    provisioning = tmp_path / "etc/grafana/provisioning"
    (provider,) = yaml.safe_load((provisioning / "dashboards/beanwatch.yaml").read_text())[
        "providers"
    ]
    placed = tmp_path / provider["options"]["path"].lstrip("/")
    assert len(list(placed.glob("*.json"))) == 4
    (source,) = yaml.safe_load((provisioning / "datasources/beanwatch.yaml").read_text())[
        "datasources"
    ]
    rules = (provisioning / "alerting/beanwatch-rules.yaml").read_text()
    assert f"datasourceUid: {source['uid']}" in rules
