"""The shipped rules and examples for Prometheus and Alertmanager, for tests on free ports."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.real.process import ROOT

SHIPPED = ROOT / "grafana" / "prometheus"


def read_rules(changes: Mapping[str, str]) -> str:
    """Return the rules. `changes` maps regular expressions to their replacements."""
    text = (SHIPPED / "beanwatch.rules.yml").read_text()
    for pattern, replacement in changes.items():
        text, number = re.subn(pattern, replacement, text)
        assert number, pattern
    return text


def configure_prometheus(rules: Path, alertmanager: str, pages: Sequence[str]) -> dict[str, Any]:
    """Return the example, which scrapes these pages each second, and sends to Alertmanager."""
    config: dict[str, Any] = yaml.safe_load((SHIPPED / "examples/prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(rules)]
    (manager,) = config["alerting"]["alertmanagers"]
    manager["static_configs"] = [{"targets": [alertmanager]}]
    (scrape,) = config["scrape_configs"]
    scrape["static_configs"] = [{"targets": list(pages)}]
    return config


def configure_alertmanager(url: str) -> dict[str, Any]:
    """Return the example without its waits. It sends to `url`, at a path named by the receiver."""
    config: dict[str, Any] = yaml.safe_load((SHIPPED / "examples/alertmanager.yml").read_text())
    config["route"] |= {"group_wait": "100ms", "group_interval": "500ms"}
    config["receivers"] = [
        {"name": name, "webhook_configs": [{"url": f"{url}/{name}"}]}
        for name in (one["name"] for one in config["receivers"])
    ]
    return config
