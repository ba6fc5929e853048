"""What `beanwatch install grafana` and `prometheus` place is what the files of it point to."""

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


def test_the_dashboards_for_prometheus_come_without_graphites_rules(
    run: Run, tmp_path: Path
) -> None:
    argv = ("beanwatch", "install", "grafana", "--datasource", "prometheus", "--dest", tmp_path)
    assert run(*argv)[0] == 0
    placed = {path.name for path in tmp_path.rglob("etc/grafana/**/*.*") if path.is_file()}
    names = ("fleet", "queue", "worker", "server")
    assert placed == {f"beanwatch-{name}-prometheus.json" for name in names} | {"beanwatch.yaml"}
    code, _, err = run("beanwatch", "install", "nagios", "--datasource", "prometheus")
    assert code == 2
    assert "--datasource is for grafana only, not for nagios" in err


def test_the_rules_lie_where_the_example_for_prometheus_looks(run: Run, tmp_path: Path) -> None:
    argv = ("beanwatch", "install", "prometheus", "--dest", tmp_path)
    assert run(*argv)[0] == 0
    examples = tmp_path / "etc/beanwatch/prometheus"
    config = yaml.safe_load((examples / "prometheus.yml").read_text())
    (rules,) = config["rule_files"]
    assert (tmp_path / rules.lstrip("/")).exists()
    # And a site's own routes survive the next installation
    (examples / "alertmanager.yml").write_text("mine")
    assert run(*argv)[0] == 0
    assert (examples / "alertmanager.yml").read_text() == "mine"
