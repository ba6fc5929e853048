"""A server of AWS's APIs: moto, which keeps SQS, CloudWatch and IAM in memory."""

import json
import time
import urllib.request
from functools import cache
from typing import Any

import botocore.session

from tests.real.process import ROOT, Server
from tests.real.waiting import wait_until

REGION = "eu-west-1"
KEYS = {"AWS_ACCESS_KEY_ID": "test-key", "AWS_SECRET_ACCESS_KEY": "test-secret"}


class Moto(Server):
    """A moto_server on a free port. It loses everything when it stops."""

    name = "moto"
    startup_timeout = 120.0  # it imports for seconds

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def argv(self) -> list[str]:
        program = ROOT / ".frameworks" / "bin" / "moto_server"
        return [str(program), "-H", "127.0.0.1", "-p", str(self.port)]

    def reset(self) -> None:
        """Forget everything; from now on allow everything to everybody."""
        self.check_rights(after=float("inf"))
        self._post("reset", b"")

    def check_rights(self, after: float = 0) -> None:
        """From now on check signatures and rights, once `after` requests were made."""
        self._post("reset-auth", str(after).encode())

    def _post(self, path: str, body: bytes) -> None:
        url = f"{self.url}/moto-api/{path}"
        request = urllib.request.Request(url, body, {"Content-Type": "text/plain"}, method="POST")

        def send() -> bool:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return bool(reply.status == 200)

        wait_until(send)

    @cache  # noqa: B019 - opening one takes longer than many calls
    def client(self, service: str = "sqs") -> Any:
        return botocore.session.get_session().create_client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id="admin",
            aws_secret_access_key="admin",
        )

    def create(self, name: str, *bodies: str, dead_letters: str = "", **attributes: str) -> str:
        """Create a queue with messages, return its URL. `dead_letters` names a queue."""
        sqs = self.client()
        if dead_letters:
            target = sqs.get_queue_url(QueueName=dead_letters)["QueueUrl"]
            found = sqs.get_queue_attributes(QueueUrl=target, AttributeNames=["QueueArn"])
            policy = {"deadLetterTargetArn": found["Attributes"]["QueueArn"], "maxReceiveCount": 3}
            attributes["RedrivePolicy"] = json.dumps(policy)
        url: str = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        for body in bodies:
            sqs.send_message(QueueUrl=url, MessageBody=body)
        return url

    def put_metric(self, queue: str, metric: str, value: float, age: float = 120.0) -> None:
        """Put a value of CloudWatch, which only SQS itself can do in AWS."""
        point = {
            "MetricName": metric,
            "Dimensions": [{"Name": "QueueName", "Value": queue}],
            "Value": value,
            "Timestamp": time.time() - age,
        }
        self.client("cloudwatch").put_metric_data(Namespace="AWS/SQS", MetricData=[point])

    def create_user(self, statements: list[dict[str, Any]]) -> dict[str, str]:
        """Create a user with exactly these rights, and return the variables with its keys."""
        iam = self.client("iam")
        iam.create_user(UserName="monitor")
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_user_policy(UserName="monitor", PolicyName="p", PolicyDocument=policy)
        key = iam.create_access_key(UserName="monitor")["AccessKey"]
        names = {"AWS_ACCESS_KEY_ID": "AccessKeyId", "AWS_SECRET_ACCESS_KEY": "SecretAccessKey"}
        return {variable: key[name] for variable, name in names.items()}
