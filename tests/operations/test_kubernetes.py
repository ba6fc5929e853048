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
from beanwatch.cli.worker import command
from beanwatch.telemetry.prometheus import PREFIX, Family
from tests.real import ROOT

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


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    blocks = [yaml.safe_load(b) for p in PAGES for b in read_blocks(p, "yaml")]
    return {block["kind"]: block for block in blocks}


def validate(found: Any, path: Path) -> subprocess.CompletedProcess[str]:
    """Validate an object against the schema of Kubernetes."""
    path.write_text(yaml.safe_dump(found))
    argv = [VALIDATE, "--strict", path]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120)


def test_each_example_has_only_fields_of_its_kind(objects: dict[str, Any], tmp_path: Path) -> None:
    assert set(objects) == {"Deployment", "ScaledObject", "HorizontalPodAutoscaler"}
    msgspec.convert(objects["ScaledObject"], ScaledObject)
    for kind in ("Deployment", "HorizontalPodAutoscaler"):
        done = validate(objects[kind], tmp_path / "good.yaml")
        assert done.returncode == 0, done.stdout + done.stderr
        wrong = {**objects[kind], "spec": {**objects[kind]["spec"], "replicasss": 3}}
        assert validate(wrong, tmp_path / "wrong.yaml").returncode != 0


def test_the_deployment_is_whole_and_asks_what_there_is(objects: dict[str, Any]) -> None:
    spec = objects["Deployment"]["spec"]
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
    assert template["metadata"]["annotations"]["prometheus.io/port"] == port
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


def test_what_scales_asks_for_a_series_that_there_is(objects: dict[str, Any]) -> None:
    (trigger,) = objects["ScaledObject"]["spec"]["triggers"]
    (metric,) = objects["HorizontalPodAutoscaler"]["spec"]["metrics"]
    asked, external = trigger["metadata"], metric["external"]
    found = re.match(r"sum\((\w+)\{", asked["query"])
    assert found
    assert found[1] == external["metric"]["name"]
    assert Family.named(found[1].removeprefix(PREFIX)).kind == "gauge"
    assert float(asked["threshold"]) == float(external["target"]["averageValue"]) == 1
    for kind in ("ScaledObject", "HorizontalPodAutoscaler"):
        target = objects[kind]["spec"]["scaleTargetRef"]["name"]
        assert target == objects["Deployment"]["metadata"]["name"]
