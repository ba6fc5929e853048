"""SystemdStatus: sends the worker's state and the watchdog's keep-alive to systemd."""

from beanwatch.net.systemd import SystemdNotifier
from beanwatch.store.health import decide_health
from beanwatch.store.heartbeats import Heartbeat, Worker
from beanwatch.worker.monitor.heartbeat.previous import describe_jobs


class SystemdStatus:
    """Sends STATUS=, which `systemctl status` shows, and WATCHDOG=1 unless the worker hangs.

    Without WATCHDOG=1, systemd kills and restarts the worker after WatchdogSec= of its unit. A job
    hangs for systemd at its hard deadline only: until then, the worker may still end it.
    """

    def __init__(self, notifier: SystemdNotifier, worker: str) -> None:
        self._notifier = notifier
        self._worker = worker

    def report(self, heartbeat: Heartbeat) -> None:
        """Send the state, the job or reason, and the keep-alive for a heartbeat record."""
        what = describe_jobs(heartbeat) or heartbeat.reason
        self._notifier.status(f"{heartbeat.state}: {what}" if what else heartbeat.state)
        jobs = tuple(
            job._replace(deadline=job.hard_deadline or job.deadline) for job in heartbeat.jobs
        )
        judged = Worker(self._worker, 0.0, heartbeat._replace(jobs=jobs))
        if decide_health(judged) != "hung":
            self._notifier.send("WATCHDOG=1")
