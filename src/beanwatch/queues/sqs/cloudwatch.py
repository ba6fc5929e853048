"""Reads what only CloudWatch knows of SQS: the age of the oldest message, and rates."""

import datetime
import time
from collections.abc import Callable, Sequence

from beanwatch.light_typing import TYPE_CHECKING, Any
from beanwatch.queues.sqs.api import Sqs, open_client

if TYPE_CHECKING:
    from collections.abc import Mapping

AGE = "ApproximateAgeOfOldestMessage"  # seconds
# Metrics and the statistic that is read. CloudWatch has one value a minute of each.
METRICS = {AGE: "Maximum", "NumberOfMessagesSent": "Sum", "NumberOfMessagesDeleted": "Sum"}
MAX_QUERIES = 500  # of one call
WINDOW = 600  # seconds: the values arrive late, and less often for a queue that is not used
KEPT = 60.0  # seconds for which values are used again, as each one read is billed

Values = dict[str, float]


class CloudWatch:
    """Reads the metrics of queues, and keeps them for KEPT seconds."""

    def __init__(self, sqs: Sqs, clock: Callable[[], float]) -> None:
        self._sqs, self._clock = sqs, clock
        self._client: Any = None
        self._kept: Mapping[str, Values] = {}
        self._kept_at = 0.0

    def read(self, names: Sequence[str]) -> "Mapping[str, Values]":
        """Return the newest value of each metric of each queue. Raises ServerError.

        A metric without a value in the last WINDOW seconds is left out.
        """
        if self._clock() - self._kept_at >= KEPT or not self._kept.keys() >= set(names):
            with self._sqs.translated():
                if self._client is None:
                    sqs = self._sqs
                    self._client = open_client(sqs.server, "cloudwatch", sqs.timeout, sqs.attempts)
                self._kept = self._ask(names)
            self._kept_at = self._clock()
        return self._kept

    def _ask(self, names: Sequence[str]) -> dict[str, Values]:
        found: dict[str, Values] = {name: {} for name in names}
        asked = [(name, metric) for name in names for metric in METRICS]
        end = int(time.time()) // 60 * 60  # the present minute is not complete
        for start in range(0, len(asked), MAX_QUERIES):
            part = asked[start : start + MAX_QUERIES]
            reply = self._client.get_metric_data(
                MetricDataQueries=[_query(number, *one) for number, one in enumerate(part)],
                StartTime=datetime.datetime.fromtimestamp(end - WINDOW, datetime.UTC),
                EndTime=datetime.datetime.fromtimestamp(end, datetime.UTC),
                ScanBy="TimestampDescending",
            )
            for result in reply["MetricDataResults"]:
                name, metric = part[int(result["Id"][1:])]
                if result["Values"]:
                    found[name][metric] = float(result["Values"][0])
        return found


def _query(number: int, name: str, metric: str) -> dict[str, Any]:
    dimensions = [{"Name": "QueueName", "Value": name}]
    return {
        "Id": f"m{number}",
        "MetricStat": {
            "Metric": {"Namespace": "AWS/SQS", "MetricName": metric, "Dimensions": dimensions},
            "Period": 60,
            "Stat": METRICS[metric],
        },
    }
