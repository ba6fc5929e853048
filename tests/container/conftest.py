"""These tests need a bare Debian root, and run only when they are asked for: make container."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "container" not in config.option.markexpr:
        skip = pytest.mark.skip(reason="needs a bare Debian root: make container")
        for item in items:
            if item.get_closest_marker("container"):
                item.add_marker(skip)
