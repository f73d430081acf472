"""deploy/compose.yaml and the Dockerfiles: valid by their schemas, and true to what they start."""

from __future__ import annotations

import re
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import safelight
from serving.settings import PREFIX, Settings, load_settings
from tests.conftest import ROOT
from tests.deploy.dockerfile import command, environment, last_stage
from tests.deploy.policy import PINNED, ROUTES, secret_like

DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
TOOLS = Path(sysconfig.get_path("scripts"))
DOCKERFILES = sorted(DEPLOY.rglob("Dockerfile"))


def checked(*words: str | Path) -> None:
    ran = subprocess.run([TOOLS / words[0], *words[1:]], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_compose_is_what_its_schema_wants():
    checked("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")


def test_the_schema_refuses_what_compose_does_not_know(tmp_path):
    wrong = tmp_path / "compose.yaml"
    wrong.write_text((DEPLOY / "compose.yaml").read_text().replace("read_only:", "readonly:"))
    with pytest.raises(AssertionError, match="readonly"):
        checked("check-jsonschema", "--builtin-schema", "vendor.compose-spec", wrong)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_hadolint_finds_nothing(path):
    checked("hadolint", "--failure-threshold", "style", path)
    assert "hadolint ignore" not in path.read_text()


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_images_are_made_in_two_stages_and_run_as_a_number(path):
    text = path.read_text()
    assert all(PINNED.fullmatch(image) for image in re.findall(r"^FROM (\S+)", text, re.MULTILINE))
    assert len(re.findall("^FROM ", text, re.MULTILINE)) == 2
    (user,) = (one.text for one in last_stage(path) if one.name == "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert command(last_stage(path), "ENTRYPOINT")
    for source in re.findall(r"^COPY (?!--)(.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / one).exists() for one in source.split())


def test_the_build_sees_what_it_copies_and_no_more():
    """A file that is not let in could not be copied; a key that is not let in cannot end up in a layer."""
    for path in DOCKERFILES:
        ignored = path.with_name("Dockerfile.dockerignore").read_text().splitlines()
        copied = {
            word
            for line in re.findall(r"^COPY (?!--)(.+) \S+$", path.read_text(), re.MULTILINE)
            for word in line.split()
        }
        assert ignored[[line.startswith("#") for line in ignored].index(False)] == "**"
        assert {line[1:] for line in ignored if line.startswith("!")} == copied


def test_the_image_names_ports_and_settings_that_exist():
    values = environment(last_stage())
    (port,) = (one.text for one in last_stage() if one.name == "EXPOSE")
    assert values["BENTOML_PORT"] == port == "3000"
    assert load_settings(ROOT, settings_of(values)).bundles == Path("/bundles")
    assert "/readyz" in (DEPLOY / "image/ready.py").read_text() and "/readyz" in ROUTES


def settings_of(values: dict[str, str]) -> dict[str, str]:
    """The settings among variables, those in files as if they had been read (a Redis URL, all of them)."""
    own = {name: value for name, value in values.items() if name.startswith(PREFIX)}
    return {n.removesuffix("_FILE"): "redis://redis:6379/0" if n.endswith("_FILE") else v for n, v in own.items()}


def test_every_variable_of_the_service_is_a_setting_that_it_takes():
    values = environment(last_stage()) | SERVICES["service"]["environment"]
    settings = load_settings(ROOT, settings_of(values))
    assert settings.sealing.replay.startswith("redis://") and settings.rates.store.startswith("redis://")
    assert settings.access.configured and not settings.allow_plaintext
    assert settings.runtime.threads == SERVICES["service"]["cpus"]


def test_no_setting_ends_like_the_variables_that_name_files():
    assert not [name for name in names(Settings.model_json_schema()) if name.endswith("_file")]


def names(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for part in schema.values():
            yield from names(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from names(part)


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_as_closed_as_the_service(name):
    service = SERVICES[name]
    assert service["read_only"] and service["cap_drop"] == ["ALL"] and "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"] and "privileged" not in service
    assert service["user"].startswith("${SAFELIGHT_UID:?")
    assert service["mem_limit"] and service["cpus"] and service["pids_limit"] and service["healthcheck"]["test"]
    assert PINNED.fullmatch(service["image"])
    assert "build" not in service or service["image"].endswith(f":{safelight.__version__}")
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")
    for tmpfs in service.get("tmpfs", []):
        assert all(option in tmpfs for option in ("size=", "noexec", "nosuid", "nodev"))


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_exists(name):
    for mount in SERVICES[name].get("volumes", []):
        source = mount.split(":")[0]
        if source.startswith("./state/") or source in ("../bundles", "../.safelight/signing.pub"):
            continue  # made by secrets.sh (tested there) and by the pipeline
        assert (DEPLOY / source).exists(), f"{name} mounts {source}"
    for secret in SERVICES[name].get("secrets", []):
        assert secret in COMPOSE["secrets"]


def members(network: str) -> set[str]:
    return {name for name, service in SERVICES.items() if network in service["networks"]}


def test_only_those_who_must_can_reach_each_other():
    expected = {
        "front": {"service"}, "outside": {"relay"}, "viewed": {"grafana"}, "runs": {"mlflow"}, "relayed": {"relay", "service"},
        "state": {"redis", "service"}, "watched": {"prometheus", "service"}, "boards": {"grafana", "prometheus"},
        "tracking": {"mlflow", "postgres"},
    }  # fmt: skip
    assert {network: members(network) for network in COMPOSE["networks"]} == expected
    for network, found in expected.items():
        internal = bool(COMPOSE["networks"][network].get("internal"))
        assert internal == (len(found) == 2)  # those alone in theirs are published, which an internal network cannot
    for name, service in SERVICES.items():
        assert bool(service.get("ports")) == (name in {"service", "relay", "grafana", "mlflow"})


def test_ports_agree():
    relay, conf = SERVICES["relay"], (DEPLOY / "relay/nginx.conf").read_text()
    assert (
        "listen 8080;" in conf
        and relay["ports"][0].endswith(":8080")
        and ":8080/healthz" in relay["healthcheck"]["test"][-1]
    )
    assert "server service:3000;" in (DEPLOY / "relay/gateway.conf").read_text()
    assert SERVICES["service"]["ports"][0].endswith(":3000")
    assert SERVICES["service"]["healthcheck"]["test"][1:] == command(last_stage(), "HEALTHCHECK")


def test_prometheus_and_grafana_find_each_other():
    """The files are mounted where they look for each other."""
    scrape = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    (job,) = (job for job in scrape["scrape_configs"] if "service:3000" in str(job))
    assert job.get("metrics_path", "/metrics") in ROUTES
    assert job["authorization"]["credentials_file"] == "/run/secrets/metrics_key"
    assert [Path("/etc/prometheus", path).as_posix() for path in scrape["rule_files"]] == ["/etc/prometheus/alerts.yml"]
    files = [yaml.safe_load(path.read_text()) for path in (DEPLOY / "grafana/provisioning").rglob("*.y*ml")]
    assert [s["url"] for file in files for s in file.get("datasources", [])] == ["http://prometheus:9090"]
    assert [p["options"]["path"] for file in files for p in file.get("providers", [])] == ["/etc/grafana/dashboards"]


def test_no_secret_is_written_down():
    """Neither in compose, nor in any other file of deploy/ that git has."""
    listed = subprocess.run(["git", "ls-files", "deploy"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for path in listed.split():
        assert not secret_like((ROOT / path).read_text()), path
    ignored = ["deploy/secrets/redis_url", "deploy/state/service/audit.key", "deploy/.env"]
    told = subprocess.run(["git", "check-ignore", *ignored], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.stdout.split() == ignored
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            assert not re.search("PASSWORD|SECRET|TOKEN|KEY$", name) or name.endswith("_FILE"), name
            assert not re.search(r"://[^/]*:[^/@]+@", value)
