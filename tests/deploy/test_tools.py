"""The files of deploy/ as the tools that read them see them."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import PROJECT
from tests.deploy.conftest import DEPLOY, KUBERNETES, run

pytestmark = pytest.mark.deploy

Tool = Callable[[str], str]
Manifests = list[dict[str, Any]]

NOT_BUILT_IN = {"ServiceMonitor"}
"""Kinds that a cluster knows only with an operator: no schema here."""

UNITS = {"": 1.0, "m": 1e-3, "Mi": 2.0**20, "Gi": 2.0**30}


def test_hadolint_finds_nothing_in_the_dockerfile(tool: Tool) -> None:
    run(tool("hadolint"), DEPLOY / "Dockerfile")


@pytest.fixture
def compose(tool: Tool) -> Callable[..., str]:
    """Calls docker-compose, version 2, with our files; to read them it needs no Docker engine."""
    program = tool("docker-compose")

    def call(*words: str, **environment: str) -> str:
        files = ["-f", DEPLOY / "compose.yaml", "-f", DEPLOY / "compose.gpu.yaml"]
        return run(program, *files, *words, env=os.environ | environment)

    return call


def test_compose_reads_its_files(compose: Callable[..., str]) -> None:
    said = json.loads(compose("config", "--format", "json", LIT_SERVER_API_KEY="k", TORCH="cu130"))
    service = said["services"]["service"]
    assert service["build"]["args"] == {"TORCH": "cu130"}
    assert (Path(service["build"]["context"]) / service["build"]["dockerfile"]).samefile(DEPLOY / "Dockerfile")
    assert service["environment"]["LIT_SERVER_API_KEY"] == "k"
    assert service["image"] == "anticipatory:cu130"


def test_compose_starts_nothing_without_a_key(compose: Callable[..., str]) -> None:
    with pytest.raises(AssertionError, match="choose a key"):
        compose("config")


def test_kubernetes_knows_every_field(manifests: Manifests) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    built_in = [each for each in manifests if each["kind"] not in NOT_BUILT_IN]
    assert len(built_in) >= 6
    for each in built_in:
        validate.validate(each, validate.latest_version(), strict=True)


def of_kind(kind: str, manifests: Manifests) -> Manifests:
    return [each for each in manifests if each["kind"] == kind]


def pod_of(manifests: Manifests) -> dict[str, Any]:
    (deployment,) = of_kind("Deployment", manifests)
    template: dict[str, Any] = deployment["spec"]["template"]
    return template


def selectors(manifests: Manifests) -> Iterator[dict[str, str]]:
    """The labels by which objects find our pods, or the Service that stands before them."""
    pod = pod_of(manifests)
    yield from (each["labelSelector"]["matchLabels"] for each in pod["spec"]["topologySpreadConstraints"])
    for each in manifests:
        spec = each.get("spec", {})
        match each["kind"]:
            case "Service":
                yield spec["selector"]
            case "Deployment" | "PodDisruptionBudget" | "ServiceMonitor":
                yield spec["selector"]["matchLabels"]
            case "NetworkPolicy":
                yield spec["podSelector"]["matchLabels"]


def test_selectors_find_our_pods_and_no_others(manifests: Manifests) -> None:
    labels = pod_of(manifests)["metadata"]["labels"]
    assert all(each["metadata"]["labels"] == labels for each in manifests)
    found = list(selectors(manifests))
    assert len(found) >= 5
    assert all(each == labels for each in found)


def test_ports_are_named_as_the_container_names_them(manifests: Manifests) -> None:
    (container,) = pod_of(manifests)["spec"]["containers"]
    names = {port["name"] for port in container["ports"]}
    probes = {container[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "readiness", "liveness")}
    (service,) = of_kind("Service", manifests)
    (policy,) = of_kind("NetworkPolicy", manifests)
    targets = {port["targetPort"] for port in service["spec"]["ports"]}
    allowed = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    assert probes | targets | allowed == names
    offered = {port["name"] for port in service["spec"]["ports"]}
    assert all(
        endpoint["port"] in offered
        for monitor in of_kind("ServiceMonitor", manifests)
        for endpoint in monitor["spec"]["endpoints"]
    )


def amount(text: str) -> float:
    (number, unit) = re.fullmatch(r"([\d.]+)(\w*)", text).groups()  # type: ignore[union-attr]
    return float(number) * UNITS[unit]


def test_requests_are_within_limits(manifests: Manifests) -> None:
    (container,) = pod_of(manifests)["spec"]["containers"]
    requests, limits = container["resources"]["requests"], container["resources"]["limits"]
    assert requests.keys() == limits.keys() >= {"cpu", "memory"}
    assert all(amount(requests[name]) <= amount(limits[name]) for name in requests)


def test_what_a_pod_names_is_there(manifests: Manifests) -> None:
    pod = pod_of(manifests)["spec"]
    (container,) = pod["containers"]
    for each in container["envFrom"]:
        assert each["configMapRef"]["name"] in [found["metadata"]["name"] for found in of_kind("ConfigMap", manifests)]
    claims = [found["metadata"]["name"] for found in of_kind("PersistentVolumeClaim", manifests)]
    named = [each["persistentVolumeClaim"]["claimName"] for each in pod["volumes"] if "persistentVolumeClaim" in each]
    assert named == claims
    assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
    secrets = [each["valueFrom"]["secretKeyRef"] for each in container["env"] if "secretKeyRef" in each["valueFrom"]]
    page = (PROJECT / "docs/deployment.md").read_text()
    assert secrets
    assert all(f"create secret generic {each['name']} --from-literal={each['key']}=" in page for each in secrets)


def test_an_autoscaler_scales_our_deployment_which_then_sets_no_number(manifests: Manifests) -> None:
    (deployment,) = of_kind("Deployment", manifests)
    scalers = of_kind("HorizontalPodAutoscaler", manifests)
    assert ("replicas" in deployment["spec"]) is not bool(scalers)
    for scaler in scalers:
        target = scaler["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
        (metric,) = scaler["spec"]["metrics"]
        adapter = yaml.safe_load((KUBERNETES / "components/autoscaling/adapter.yaml").read_text())
        assert adapter["rules"]["custom"][0]["seriesQuery"].startswith(metric["pods"]["metric"]["name"] + "{")


def test_promtool_reads_the_configuration(tool: Tool) -> None:
    run(tool("promtool"), "check", "config", DEPLOY / "prometheus/prometheus.yml")


def test_rules_record_and_warn_as_they_should(tool: Tool, tmp_path: Path) -> None:
    for file in (PROJECT / "tests/deploy/rules_test.yml", DEPLOY / "prometheus/rules.yml"):
        shutil.copy(file, tmp_path)
    run(tool("promtool"), "test", "rules", tmp_path / "rules_test.yml")


def test_every_alert_is_tested() -> None:
    groups = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    tests = yaml.safe_load((PROJECT / "tests/deploy/rules_test.yml").read_text())["tests"]
    fired = {each["alertname"] for test in tests for each in test.get("alert_rule_test", []) if each["exp_alerts"]}
    assert fired == alerts
