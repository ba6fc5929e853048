"""The director: it plays scenes, and records which expected alerts arrived, and when."""

import time
from collections.abc import Callable, Sequence

from tests.demo.mailbox import Alert, Expected, Receipt
from tests.demo.scenes import Scene
from tests.demo.stage import Stage
from tests.real import WaitError


class Director:
    """Plays scenes on a stage.

    `receipts` has the expected alerts of each scene, by its title. `unexpected` has all other
    alerts. `timeout` is how long to wait for an alert, in seconds.
    """

    def __init__(
        self,
        stage: Stage,
        *,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.receipts: dict[str, list[Receipt]] = {}
        self.unexpected: list[Alert] = []
        self._stage = stage
        self._narrator = stage.narrator
        self._timeout = timeout
        self._clock = clock
        self._sleep = sleep

    @property
    def missing(self) -> int:
        """The number of expected alerts that did not arrive."""
        return sum(not one.alert for receipts in self.receipts.values() for one in receipts)

    def wait_until_all_is_ok(self) -> None:
        """Wait until Nagios has checked every service and all are OK. Raises WaitError."""
        self._narrator.waits_for("waiting until Nagios has checked every service")
        if not self._until(self._stage.is_ok):
            raise WaitError(
                f"before the first scene, not all was OK within {self._timeout:g} s: "
                f"{self._stage.problems()}"
            )

    def play(self, scene: Scene) -> None:
        """Cause the fault, wait for its alerts, fix it, and wait for the recoveries."""
        receipts = self.receipts[scene.title] = []
        self._narrator.chapter(scene.title)
        self._narrator.breaks(scene.breaks)
        self._stage.mark("fault")
        started = self._clock()
        scene.cause(self._stage)
        receipts += self._receive(scene.alerts, started, "waiting for the alert")
        if reason := self._stage.last_error():
            self._narrator.logged(reason)
        if scene.is_pictured:
            self._stage.take_picture()
        self._narrator.fixes(scene.fixes)
        self._stage.mark("fixed")
        started = self._clock()
        scene.fix(self._stage)
        receipts += self._receive(scene.recoveries, started, "waiting for the recovery")

    def _receive(self, expected: Sequence[Expected], started: float, waiting: str) -> list[Receipt]:
        pending = list(expected)
        receipts: list[Receipt] = []

        def all_arrived() -> bool:
            for alert in self._stage.mailbox.fetch():
                self._narrator.alert(alert)
                match = next((one for one in pending if one.matches(alert)), None)
                if match is None:
                    self.unexpected.append(alert)
                else:
                    pending.remove(match)
                    receipts.append(Receipt(match, alert, alert.received - started))
            return not pending

        self._narrator.waits_for(waiting)
        self._until(all_arrived)
        for one in pending:
            self._narrator.failed(
                f"no alert arrived within {self._timeout:g} s: {one.service} {one.state}"
            )
        return receipts + [Receipt(one) for one in pending]

    def _until(self, condition: Callable[[], bool]) -> bool:
        deadline = self._clock() + self._timeout
        while not condition():
            if self._clock() > deadline:
                return False
            self._stage.supervise()
            self._sleep(0.1)
        return True
