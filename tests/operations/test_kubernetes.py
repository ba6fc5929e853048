"""The examples for Kubernetes: their fields exist there, and their commands exist here."""

import json
import re
import subprocess
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
import yaml

from beanwatch.checks.probe import parse_arguments
from beanwatch.cli.collect import command as collect_command
from beanwatch.cli.worker import command
from beanwatch.telemetry.prometheus import PREFIX, Family
from tests.real import ROOT
from tests.real.prometheus import promtool

VALIDATE = ROOT / ".frameworks" / "bin" / "kubernetes-validate"
PAGES = ("getting-started.md", "scaling.md")
Positive = Annotated[int, msgspec.Meta(ge=1)]


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    """An object of KEDA, which Kubernetes' own schema lacks. It has no other fields."""


class Metadata(Strict):
    name: str


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


def read_blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


WORKER, COLLECTOR = ("Deployment", "mailer"), ("Deployment", "beanwatch-collector")
KEDA, AUTOSCALER = ("ScaledObject", "mailer"), ("HorizontalPodAutoscaler", "mailer")
Objects = dict[tuple[str, str], Any]


@pytest.fixture(scope="module")
def objects() -> Objects:
    """The objects of the pages by their kind and name."""
    blocks = [yaml.safe_load(b) for p in PAGES for b in read_blocks(p, "yaml")]
    return {(one["kind"], one["metadata"]["name"]): one for one in blocks if "kind" in one}


def validate(found: Any, path: Path) -> subprocess.CompletedProcess[str]:
    """Validate an object against the schema of Kubernetes."""
    path.write_text(yaml.safe_dump(found))
    argv = [VALIDATE, "--strict", path]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120)


def test_each_example_has_only_fields_of_its_kind(objects: Objects, tmp_path: Path) -> None:
    assert set(objects) == {WORKER, COLLECTOR, KEDA, AUTOSCALER}
    msgspec.convert(objects[KEDA], ScaledObject)
    for key in (WORKER, COLLECTOR, AUTOSCALER):
        done = validate(objects[key], tmp_path / "good.yaml")
        assert done.returncode == 0, done.stdout + done.stderr
        wrong = {**objects[key], "spec": {**objects[key]["spec"], "replicasss": 3}}
        assert validate(wrong, tmp_path / "wrong.yaml").returncode != 0


def test_prometheus_takes_the_scrape_of_pods_and_finds_the_port_that_they_name(
    objects: Objects, tmp_path: Path
) -> None:
    blocks = [yaml.safe_load(block) for block in read_blocks("getting-started.md", "yaml")]
    (config,) = (block for block in blocks if "scrape_configs" in block)
    (job,) = config["scrape_configs"]
    # Debian's Prometheus is built without Kubernetes.
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    promtool("check", "config", "--syntax-only", path)
    (kept,) = job["relabel_configs"]
    for key in (WORKER, COLLECTOR):
        (container,) = objects[key]["spec"]["template"]["spec"]["containers"]
        assert [port["name"] for port in container["ports"]] == [kept["regex"]]


def test_the_collector_is_asked_what_there_is(objects: Objects) -> None:
    (container,) = objects[COLLECTOR]["spec"]["template"]["spec"]["containers"]
    program, word = container["command"]
    assert (program, word) == ("beanwatch", "collect")
    options = collect_command.make_context("collect", list(container["args"])).params
    assert options["listen"].endswith(f":{container['ports'][0]['containerPort']}")


def test_the_deployment_is_whole_and_asks_what_there_is(objects: Objects) -> None:
    spec = objects[WORKER]["spec"]
    template = spec["template"]
    pod = template["spec"]
    (worker,) = pod["containers"]
    assert spec["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    mounts = worker["volumeMounts"]
    assert {mount["name"] for mount in mounts} == {volume["name"] for volume in pod["volumes"]}
    assert [mount["mountPath"] for mount in mounts] == ["/tmp"]
    options = command.make_context("worker", ["jobs:app", *worker["args"]]).params
    _, _, port = options["listen"].rpartition(":")
    assert port == str(worker["ports"][0]["containerPort"])
    for probe in (worker["startupProbe"], worker["readinessProbe"]):
        assert probe["httpGet"]["path"] in ("/livez", "/readyz")
        assert probe["httpGet"]["port"] == worker["ports"][0]["name"]
    program, *arguments = worker["livenessProbe"]["exec"]["command"]
    assert program == "beanwatch_probe"
    parsed = parse_arguments(arguments)
    assert (parsed.question, parsed.name) == ("live", options["name"])
    assert pod["terminationGracePeriodSeconds"] >= 30 + 30
    assert worker["securityContext"]["readOnlyRootFilesystem"]
    assert pod["securityContext"]["runAsNonRoot"]


def test_the_containerfile_runs_without_root_and_passes_signals() -> None:
    (block,) = read_blocks("getting-started.md", "dockerfile")
    lines = dict(line.split(" ", 1) for line in block.splitlines())
    assert int(lines["USER"].partition(":")[0]) > 0
    program, word, *rest = [*json.loads(lines["ENTRYPOINT"]), *json.loads(lines["CMD"])]
    assert (program, word) == ("beanwatch", "worker")
    assert command.make_context("worker", rest).params["name"] == "mailer"


def test_what_scales_asks_for_a_series_that_there_is(objects: Objects) -> None:
    (trigger,) = objects[KEDA]["spec"]["triggers"]
    (metric,) = objects[AUTOSCALER]["spec"]["metrics"]
    asked, external = trigger["metadata"], metric["external"]
    found = re.match(r"sum\((\w+)\{", asked["query"])
    assert found
    assert found[1] == external["metric"]["name"]
    assert Family.named(found[1].removeprefix(PREFIX)).kind == "gauge"
    assert float(asked["threshold"]) == float(external["target"]["averageValue"]) == 1
    for key in (KEDA, AUTOSCALER):
        assert objects[key]["spec"]["scaleTargetRef"]["name"] == WORKER[1]
