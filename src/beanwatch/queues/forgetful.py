"""A memory that remembers nothing: for one reading that is compared with no other."""

from typing import Any


class Forgetful:
    """A `beanwatch.queues.base.Memory` without a past."""

    def recall(self, key: str) -> Any:
        """Nothing."""
        return None

    def remember(self, key: str, value: Any) -> None:
        """Forgotten at once."""

    def lasting(self, key: str, token: str = "") -> float:
        """Everything is new."""
        return 0.0

    def keep(self, key: str) -> None:
        """There is nothing to keep."""
