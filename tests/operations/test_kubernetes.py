"""The examples for Kubernetes: their fields exist there, and their commands exist here."""

import json
import re
from typing import Annotated, Any, Literal

import msgspec
import pytest
import yaml

from beanwatch.checks.probe import parse_arguments
from beanwatch.cli.worker import command
from beanwatch.telemetry.prometheus import PREFIX, Family
from tests.real import ROOT

Labels = dict[str, str]
Port = str | Annotated[int, msgspec.Meta(ge=1, le=65535)]
Quantity = str | int
Positive = Annotated[int, msgspec.Meta(ge=1)]


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    """An object of the API. It has only the fields that its schema names, and the required ones."""


class Metadata(Strict):
    name: str = ""
    labels: Labels = {}
    annotations: Labels = {}


class Selector(Strict):
    matchLabels: Labels  # noqa: N815


class HttpGet(Strict):
    path: str
    port: Port


class Exec(Strict):
    command: list[str]


class Probe(Strict):
    periodSeconds: Positive = 10  # noqa: N815
    timeoutSeconds: Positive = 1  # noqa: N815
    failureThreshold: Positive = 3  # noqa: N815
    httpGet: HttpGet | None = None  # noqa: N815
    exec: Exec | None = None


class ContainerPort(Strict):
    name: Annotated[str, msgspec.Meta(max_length=15)]
    containerPort: Annotated[int, msgspec.Meta(ge=1, le=65535)]  # noqa: N815


class Capabilities(Strict):
    drop: list[str] = []


class ContainerSecurity(Strict):
    allowPrivilegeEscalation: bool  # noqa: N815
    readOnlyRootFilesystem: bool  # noqa: N815
    capabilities: Capabilities


class Resources(Strict):
    requests: dict[str, Quantity] = {}
    limits: dict[str, Quantity] = {}


class VolumeMount(Strict):
    name: str
    mountPath: str  # noqa: N815


class Container(Strict):
    name: str
    image: str
    startupProbe: Probe  # noqa: N815
    livenessProbe: Probe  # noqa: N815
    readinessProbe: Probe  # noqa: N815
    securityContext: ContainerSecurity  # noqa: N815
    args: list[str] = []
    ports: list[ContainerPort] = []
    resources: Resources | None = None
    volumeMounts: list[VolumeMount] = []  # noqa: N815


class Seccomp(Strict):
    type: Literal["RuntimeDefault"]


class PodSecurity(Strict):
    runAsNonRoot: bool  # noqa: N815
    runAsUser: Positive  # noqa: N815
    seccompProfile: Seccomp  # noqa: N815


class Volume(Strict):
    name: str
    emptyDir: dict[str, Any]  # noqa: N815


class PodSpec(Strict):
    containers: list[Container]
    securityContext: PodSecurity  # noqa: N815
    terminationGracePeriodSeconds: Positive = 30  # noqa: N815
    volumes: list[Volume] = []


class Template(Strict):
    metadata: Metadata
    spec: PodSpec


class DeploymentSpec(Strict):
    selector: Selector
    template: Template
    replicas: Positive = 1


class Deployment(Strict):
    apiVersion: Literal["apps/v1"]  # noqa: N815
    kind: Literal["Deployment"]
    metadata: Metadata
    spec: DeploymentSpec


class PrometheusTrigger(Strict):
    """KEDA takes only texts here."""

    serverAddress: str  # noqa: N815
    query: str
    threshold: str
    ignoreNullValues: Literal["false"]  # noqa: N815


class Trigger(Strict):
    type: Literal["prometheus"]
    metadata: PrometheusTrigger


class NamedTarget(Strict):
    name: str
    apiVersion: str = "apps/v1"  # noqa: N815
    kind: str = "Deployment"


class Fallback(Strict):
    failureThreshold: Positive  # noqa: N815
    replicas: Positive


class ScaledObjectSpec(Strict):
    scaleTargetRef: NamedTarget  # noqa: N815
    triggers: list[Trigger]
    minReplicaCount: Positive  # noqa: N815
    maxReplicaCount: Positive  # noqa: N815
    cooldownPeriod: Positive = 300  # noqa: N815
    fallback: Fallback | None = None


class ScaledObject(Strict):
    apiVersion: Literal["keda.sh/v1alpha1"]  # noqa: N815
    kind: Literal["ScaledObject"]
    metadata: Metadata
    spec: ScaledObjectSpec


class ExternalName(Strict):
    name: str
    selector: Selector


class ExternalTarget(Strict):
    type: Literal["AverageValue"]
    averageValue: Quantity  # noqa: N815


class External(Strict):
    metric: ExternalName
    target: ExternalTarget


class Metric(Strict):
    type: Literal["External"]
    external: External


class ScalingRules(Strict):
    stabilizationWindowSeconds: Annotated[int, msgspec.Meta(ge=0, le=3600)]  # noqa: N815


class Behavior(Strict):
    scaleDown: ScalingRules  # noqa: N815


class AutoscalerSpec(Strict):
    scaleTargetRef: NamedTarget  # noqa: N815
    minReplicas: Positive  # noqa: N815
    maxReplicas: Positive  # noqa: N815
    metrics: list[Metric]
    behavior: Behavior


class HorizontalPodAutoscaler(Strict):
    apiVersion: Literal["autoscaling/v2"]  # noqa: N815
    kind: Literal["HorizontalPodAutoscaler"]
    metadata: Metadata
    spec: AutoscalerSpec


KINDS: dict[str, type[Strict]] = {
    kind.__name__: kind for kind in (Deployment, ScaledObject, HorizontalPodAutoscaler)
}


def read_blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def read_objects() -> dict[str, Any]:
    blocks = [yaml.safe_load(b) for p in PAGES for b in read_blocks(p, "yaml")]
    return {block["kind"]: msgspec.convert(block, KINDS[block["kind"]]) for block in blocks}


PAGES = ("getting-started.md", "scaling.md")


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    return read_objects()


def test_each_example_has_only_fields_of_its_kind(objects: dict[str, Any]) -> None:
    assert set(objects) == set(KINDS)


def test_the_deployment_is_whole_and_asks_what_there_is(objects: dict[str, Any]) -> None:
    spec = objects["Deployment"].spec
    pod = spec.template.spec
    (worker,) = pod.containers
    assert spec.selector.matchLabels.items() <= spec.template.metadata.labels.items()
    assert {mount.name for mount in worker.volumeMounts} == {v.name for v in pod.volumes}
    assert [mount.mountPath for mount in worker.volumeMounts] == ["/tmp"]
    options = command.make_context("worker", ["jobs:app", *worker.args]).params
    _, _, port = options["listen"].rpartition(":")
    assert port == str(worker.ports[0].containerPort)
    assert spec.template.metadata.annotations["prometheus.io/port"] == port
    for probe in (worker.startupProbe, worker.readinessProbe):
        assert probe.httpGet.path in ("/livez", "/readyz")
        assert probe.httpGet.port == worker.ports[0].name
    program, *arguments = worker.livenessProbe.exec.command
    assert program == "beanwatch_probe"
    parsed = parse_arguments(arguments)
    assert (parsed.question, parsed.name) == ("live", options["name"])
    assert pod.terminationGracePeriodSeconds >= 30 + 30
    assert worker.securityContext.readOnlyRootFilesystem
    assert pod.securityContext.runAsNonRoot


def test_the_containerfile_runs_without_root_and_passes_signals() -> None:
    (block,) = read_blocks("getting-started.md", "dockerfile")
    lines = dict(line.split(" ", 1) for line in block.splitlines())
    assert int(lines["USER"].partition(":")[0]) > 0
    program, word, *rest = [*json.loads(lines["ENTRYPOINT"]), *json.loads(lines["CMD"])]
    assert (program, word) == ("beanwatch", "worker")
    assert command.make_context("worker", rest).params["name"] == "mailer"


def test_what_scales_asks_for_a_series_that_there_is(objects: dict[str, Any]) -> None:
    (trigger,) = objects["ScaledObject"].spec.triggers
    (metric,) = objects["HorizontalPodAutoscaler"].spec.metrics
    found = re.match(r"sum\((\w+)\{", trigger.metadata.query)
    assert found
    assert found[1] == metric.external.metric.name
    assert Family.named(found[1].removeprefix(PREFIX)).kind == "gauge"
    assert float(trigger.metadata.threshold) == float(metric.external.target.averageValue) == 1
    for name in ("ScaledObject", "HorizontalPodAutoscaler"):
        assert objects[name].spec.scaleTargetRef.name == objects["Deployment"].metadata.name
