"""`make demo PROMETHEUS=1`: the demo with Prometheus and Alertmanager beside Nagios."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.demo.mailbox import Alert, Expected
from tests.demo.narrator import Narrator
from tests.demo.scenes import SCENES, Scene
from tests.demo.stage import Stage
from tests.real import HttpSink
from tests.real.prometheus import Alertmanager, Prometheus
from tests.real.shipped_rules import configure_alertmanager, configure_prometheus, read_rules

# Minutes pass as seconds, so that an alert is there soon and ends soon.
FASTER = {r"(interval|for|keep_firing_for): (\d+)m": r"\1: \2s", r"\[10m\]": "[15s]"}
# The alerts of each scene, and those that end with its cause. An alert about what happened in the
# last minutes ends by itself.
ALERTS: Sequence[tuple[Sequence[Expected], Sequence[Expected]]] = (
    (
        [Expected("BeanwatchBuried", "WARNING", "email.bulk")],
        [Expected("BeanwatchBuried", "OK")],
    ),
    (
        [
            Expected("BeanwatchBuried", "WARNING", "images"),
            Expected("BeanwatchJobsLost", "WARNING", "image.resize"),
            Expected("BeanwatchWorkerRestarted", "WARNING", "web1.maker"),
        ],
        [
            Expected("BeanwatchBuried", "OK"),
            Expected("BeanwatchJobsLost", "OK"),
            Expected("BeanwatchWorkerRestarted", "OK"),
        ],
    ),
    (
        [
            Expected("BeanwatchWorkerDead", "CRITICAL", "web1.mailer"),
            Expected("BeanwatchConsumersNoConsumer", "CRITICAL", "email.regular"),
        ],
        [
            Expected("BeanwatchWorkerDead", "OK"),
            Expected("BeanwatchConsumersNoConsumer", "OK", "email.regular"),
        ],
    ),
    (
        [Expected("BeanwatchConsumersNoConsumer", "CRITICAL", "newsletter")],
        [Expected("BeanwatchConsumersNoConsumer", "OK", "newsletter")],
    ),
)


class PrometheusStage(Stage):
    """The stage with a Prometheus that scrapes the collector, and an Alertmanager."""

    def __init__(self, directory: Path, narrator: Narrator) -> None:
        super().__init__(directory, narrator)
        self.sink = HttpSink()
        self._feed = Feed(self.sink, self.mailbox.path)

    def start_nagios(self) -> None:
        super().start_nagios()
        self.enter_context(self.sink)
        routes = configure_alertmanager(self.sink.url)
        alertmanager = Alertmanager(self.directory / "alertmanager", routes)
        self.alertmanager = self.enter_context(alertmanager)
        rules = self.directory / "beanwatch.rules.yml"
        rules.write_text(read_rules(FASTER))
        config = configure_prometheus(rules, self.alertmanager.address, [self.metrics])
        self.prometheus = self.enter_context(Prometheus(self.directory / "prometheus", config))
        self.narrator.did("Prometheus", f"{self.prometheus.url}, scrapes and judges each second")
        self.narrator.did("Alertmanager", f"{self.alertmanager.url}, sends to a webhook")

    def problems(self) -> list[str]:
        if found := super().problems():
            return found
        well = "beanwatch_server_up == 1 and on () beanwatch_worker_state"
        return [] if self.prometheus.query(well) else ["Prometheus has not scraped the workers yet"]

    def supervise(self) -> None:
        super().supervise()
        self._feed.copy()

    def scenes(self) -> Sequence[Scene]:
        return [
            scene._replace(
                alerts=(*scene.alerts, *alerts), recoveries=(*scene.recoveries, *recoveries)
            )
            for scene, (alerts, recoveries) in zip(SCENES, ALERTS, strict=True)
        ]

    def hints(self) -> Mapping[str, str]:
        return {
            **super().hints(),
            self.prometheus.url: "Prometheus, in a browser",
            self.alertmanager.url: "Alertmanager, in a browser",
        }


class Feed:
    """Appends the alerts that Alertmanager sends to the mailbox, beside those of Nagios."""

    def __init__(self, sink: HttpSink, mailbox: Path) -> None:
        self._sink, self._mailbox = sink, mailbox
        self._read = 0
        self._told: dict[tuple[str, str], str] = {}

    def copy(self) -> None:
        """Append those that arrived since the last call."""
        requests = self._sink.requests[self._read :]
        self._read += len(requests)
        with self._mailbox.open("a") as stream:
            for request in requests:
                receiver = request.path.strip("/")
                for one in filter(self._is_new, request.json()["alerts"]):
                    stream.write("\t".join(to_alert(one, receiver)[:6]) + "\n")

    def _is_new(self, sent: Mapping[str, Any]) -> bool:
        """Return False for an alert that was sent before: a message has all of its group."""
        key, status = (sent["fingerprint"], sent["startsAt"]), sent["status"]
        was_told = self._told.get(key) == status
        self._told[key] = status
        return not was_told


def to_alert(sent: Mapping[str, Any], receiver: str) -> Alert:
    """Turn an alert of a webhook message of Alertmanager into one as Nagios sends it."""
    is_over = sent["status"] == "resolved"
    return Alert(
        "RECOVERY" if is_over else "PROBLEM",
        f"Alertmanager to {receiver}",
        sent["labels"]["alertname"],
        "OK" if is_over else sent["labels"]["severity"].upper(),
        sent["annotations"]["summary"],
        sent["annotations"]["runbook_url"],
    )
