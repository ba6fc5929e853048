"""Tell systemd what the worker does and that it is alive."""

from beanwatch.net.systemd import SystemdNotifier
from beanwatch.store.health import decide_health
from beanwatch.store.heartbeats import Heartbeat, Worker


class SystemdStatus:
    """The line that `systemctl status` shows, and the watchdog's ping unless the worker hangs."""

    def __init__(self, notifier: SystemdNotifier, worker: str) -> None:
        self._notifier = notifier
        self._worker = worker

    def report(self, heartbeat: Heartbeat) -> None:
        """Pass on what a heartbeat record says."""
        what = f"{heartbeat.job} (job {heartbeat.job_id})" if heartbeat.job_id else heartbeat.reason
        self._notifier.status(f"{heartbeat.state}: {what}" if what else heartbeat.state)
        if decide_health(Worker(self._worker, 0.0, heartbeat)) != "hung":
            self._notifier.send("WATCHDOG=1")
