"""The long form runs only when it is asked for: make soak."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "soak" not in config.option.markexpr:
        skip = pytest.mark.skip(reason="takes minutes: make soak")
        for item in items:
            if item.get_closest_marker("soak"):
                item.add_marker(skip)
