"""What the files of deploy/ say is what the service and the other files say. These need no tools."""

import json
import re
from typing import Any

import yaml

from server import Settings
from serving.supervisor import STOP_SECONDS
from tests.conftest import PROJECT
from tests.deploy.conftest import DEPLOY, KUBERNETES
from tests.project.test_layers import ORDER

NOT_IN_THE_IMAGE = {"bulk", "client", "commands"}

COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
DEPLOYMENT = yaml.safe_load((KUBERNETES / "base/deployment.yaml").read_text())
POD = DEPLOYMENT["spec"]["template"]["spec"]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/anticipatory.json").read_text())
SETTINGS_OF_PODS = dict(
    line.split("=", 1) for line in (KUBERNETES / "base/settings.env").read_text().splitlines() if line[0] != "#"
)
SHUTDOWN_SECONDS = 2
"""What uvicorn waits beyond the drain time."""


def settings(variables: dict[str, Any]) -> Settings:
    """The settings that the service would read from an environment; fails where one is not known."""
    values = {
        name.removeprefix("ANTICIPATORY_").lower(): value
        for name, value in variables.items()
        if name.startswith("ANTICIPATORY_")
    }
    assert not values.keys() - Settings.model_fields.keys()
    return Settings(_cli_parse_args=[], **values)


def image_settings() -> dict[str, str]:
    return dict(re.findall(r"(ANTICIPATORY_\w+)=(\S+)", DOCKERFILE))


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def test_the_image_holds_every_module_that_the_service_imports() -> None:
    allowed = {line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    needed = {module.split(".")[0] for module in [*ORDER, "serving"]} - NOT_IN_THE_IMAGE
    files = {name if (PROJECT / name).is_dir() else f"{name}.py" for name in needed}
    assert files | {"weights/tiny", "pyproject.toml", "deploy/entrypoint.sh"} <= allowed


def test_every_setting_named_is_a_setting_with_a_valid_value() -> None:
    assert settings(image_settings()).host == "0.0.0.0"
    assert settings(SETTINGS_OF_PODS).drain_timeout
    compose = {name: value for name, value in COMPOSE["service"]["environment"].items() if "${" not in str(value)}
    assert settings(compose).public_metrics
    documented = "".join(path.read_text() for path in DEPLOY.rglob("*") if path.is_file())
    named = set(re.findall(r"ANTICIPATORY_([A-Z_]+)", documented))
    assert not {name.lower() for name in named} - Settings.model_fields.keys()


def test_containers_get_time_to_drain() -> None:
    ends = SHUTDOWN_SECONDS + STOP_SECONDS
    pods = settings(image_settings() | SETTINGS_OF_PODS)
    (_, sleep) = POD["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert POD["terminationGracePeriodSeconds"] >= int(sleep) + pods.drain_timeout + ends
    assert seconds(COMPOSE["service"]["stop_grace_period"]) >= settings(image_settings()).drain_timeout + ends


def test_one_port_everywhere() -> None:
    port = settings(image_settings()).port
    assert f"EXPOSE {port}" in DOCKERFILE
    assert COMPOSE["service"]["ports"] == [f"{port}:{port}"]
    assert [each["containerPort"] for each in POD["containers"][0]["ports"]] == [port]
    prometheus = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    assert prometheus["scrape_configs"][0]["static_configs"][0]["targets"] == [f"service:{port}"]


def test_the_service_of_that_name_does_not_set_the_port() -> None:
    assert POD["enableServiceLinks"] is False


def test_one_user_everywhere_who_is_not_root() -> None:
    (user, group) = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, flags=re.MULTILINE)[-1]
    security = POD["securityContext"]
    assert (int(user), int(group)) == (security["runAsUser"], security["runAsGroup"])
    assert int(user) >= 10_000
    assert int(group) == security["fsGroup"]


def test_what_is_read_only_has_writable_folders_where_the_image_writes() -> None:
    folders = {each["mountPath"] for each in POD["containers"][0]["volumeMounts"]}
    composed = {*COMPOSE["service"]["tmpfs"], *(each.split(":")[1] for each in COMPOSE["service"]["volumes"])}
    written = re.findall(r"(?:HF_HOME|HOME|NUMBA_CACHE_DIR)=(/\w+)", DOCKERFILE.partition("FROM ${BASE}\n")[2])
    assert set(written) == folders == composed


def test_probes_ask_paths_that_need_no_key() -> None:
    assert settings(SETTINGS_OF_PODS).public_metrics
    probes = [POD["containers"][0][f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    assert {probe["path"] for probe in probes} <= {"/health", "/metrics"}


def test_the_dashboard_finds_its_data_source_and_its_panels_do_not_overlap() -> None:
    sources = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    panels = DASHBOARD["panels"]
    used = {target["datasource"]["uid"] for panel in panels for target in [panel, *panel["targets"]]}
    assert used == {each["uid"] for each in sources}
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for grid in (panel["gridPos"] for panel in panels)
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_folders_that_the_containers_mount_and_read_are_there() -> None:
    for name in ("prometheus", "grafana"):
        mounts = {path: folder for folder, path, *_ in (each.split(":") for each in COMPOSE[name]["volumes"])}
        files = re.findall(r"(/etc/\S+)/([\w.]+)", " ".join([*COMPOSE[name].get("command", [])]))
        if name == "grafana":
            home = COMPOSE[name]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
            provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/anticipatory.yaml").read_text())
            assert provider["providers"][0]["options"]["path"] in mounts
            files = [tuple(home.rsplit("/", 1))]
        assert files
        assert all((DEPLOY / mounts[folder] / file).is_file() for folder, file in files)
