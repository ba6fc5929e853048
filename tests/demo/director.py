"""Plays a scene, and notes which of the expected alerts arrived, and when."""

import time
from collections.abc import Callable, Sequence

from tests.demo.mailbox import Alert, Expected, Receipt
from tests.demo.scenes import Scene
from tests.demo.stage import Stage
from tests.real import WaitError

PATIENCE = 60.0  # seconds; on an idle machine every alert takes less than 15


class Director:
    """Plays scenes on a stage; `receipts` and `surprises` tell how it went."""

    def __init__(
        self,
        stage: Stage,
        *,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.receipts: dict[str, list[Receipt]] = {}
        self.surprises: list[Alert] = []
        self._stage = stage
        self._narrator = stage.narrator
        self._patience = patience
        self._clock = clock
        self._sleep = sleep

    @property
    def missing(self) -> int:
        """How many expected alerts did not arrive."""
        return sum(not one.alert for receipts in self.receipts.values() for one in receipts)

    def wait_until_all_is_well(self) -> None:
        """Until every service was checked and is OK. Raises WaitError."""
        self._narrator.waits_for("Nagios looks at everything")
        if not self._until(self._stage.is_well):
            raise WaitError(f"not all is well at first: {self._stage.complaints()}")

    def play(self, scene: Scene) -> None:
        """Make the trouble, wait for its alerts, mend it, wait for the recoveries."""
        receipts = self.receipts[scene.title] = []
        self._narrator.chapter(scene.title)
        self._narrator.breaks(scene.breaks)
        self._stage.mark("trouble")
        started = self._clock()
        scene.make(self._stage)
        receipts += self._receive(scene.alerts, started, "waiting for the alert")
        if reason := self._stage.last_error():
            self._narrator.logged(reason)
        self._narrator.mends(scene.mends)
        self._stage.mark("mended")
        started = self._clock()
        scene.mend(self._stage)
        receipts += self._receive(scene.recoveries, started, "waiting for the recovery")

    def _receive(self, expected: Sequence[Expected], started: float, waiting: str) -> list[Receipt]:
        pending = list(expected)
        receipts: list[Receipt] = []

        def all_arrived() -> bool:
            for alert in self._stage.mailbox.fetch():
                self._narrator.alert(alert)
                match = next((one for one in pending if one.matches(alert)), None)
                if match is None:
                    self.surprises.append(alert)
                else:
                    pending.remove(match)
                    receipts.append(Receipt(match, alert, alert.received - started))
            return not pending

        self._narrator.waits_for(waiting)
        self._until(all_arrived)
        for one in pending:
            self._narrator.failed(f"no alert arrived: {one.service} {one.state}")
        return receipts + [Receipt(one) for one in pending]

    def _until(self, condition: Callable[[], bool]) -> bool:
        deadline = self._clock() + self._patience
        while not condition():
            if self._clock() > deadline:
                return False
            self._stage.tend()
            self._sleep(0.1)
        return True
