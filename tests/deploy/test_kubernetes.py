"""deploy/kubernetes: valid by the schemas of Kubernetes, and true to the gateway. No cluster has seen them."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import safelight
from safelight.credentials import KeyFile, digest_of
from safelight.sealing.keystore import KeyStore
from serving.settings import PREFIX, load_settings
from tests.conftest import ROOT
from tests.deploy.dockerfile import environment, last_stage
from tests.deploy.policy import PINNED, ROUTES, secret_like

FOLDER = ROOT / "deploy/kubernetes"
VERSION = kubernetes_validate.latest_version()
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
DOCUMENTS: list[dict[str, Any]] = [
    document for name in KUSTOMIZATION["resources"] for document in yaml.safe_load_all((FOLDER / name).read_text())
]
MONITORING: list[dict[str, Any]] = [
    document for path in (FOLDER / "monitoring").iterdir() for document in yaml.safe_load_all(path.read_text())
]


def one(kind: str, name: str) -> dict[str, Any]:
    (found,) = (document for document in DOCUMENTS if (document["kind"], document["metadata"]["name"]) == (kind, name))
    return found


GATEWAY = one("Deployment", "gateway")
PODS = {"gateway": GATEWAY["spec"]["template"], "redis": one("StatefulSet", "redis")["spec"]["template"]}
CONTAINERS = {name: pod["spec"]["containers"][0] for name, pod in PODS.items()}


@pytest.mark.parametrize(
    "document", [*DOCUMENTS, *MONITORING], ids=lambda one: f"{one['kind']}-{one['metadata']['name']}"
)
def test_every_object_is_what_its_schema_wants(document):
    kubernetes_validate.validate(document, VERSION, strict=True)


def test_the_schemas_refuse_what_kubernetes_does_not_know():
    wrong = yaml.safe_load(yaml.safe_dump(GATEWAY))
    wrong["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


def test_every_file_is_applied():
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert files == set(KUSTOMIZATION["resources"])
    assert KUSTOMIZATION["namespace"] == one("Namespace", "safelight")["metadata"]["name"]


def test_kustomize_builds_it():
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    built = subprocess.run(["kubectl", "kustomize", FOLDER], capture_output=True, text=True, check=True).stdout
    documents = list(yaml.safe_load_all(built))
    assert len(documents) == len(DOCUMENTS)
    for document in documents:
        kubernetes_validate.validate(document, VERSION, strict=True)
        assert document["kind"] == "Namespace" or document["metadata"]["namespace"] == "safelight"
        for container in document.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
            assert PINNED.fullmatch(container["image"])


def test_images_are_pinned_and_ours_is_this_version():
    (ours,) = KUSTOMIZATION["images"]
    assert ours["name"] == CONTAINERS["gateway"]["image"] and ours["newTag"] == safelight.__version__
    assert PINNED.fullmatch(CONTAINERS["redis"]["image"])


@pytest.mark.parametrize("name", PODS)
def test_pods_meet_the_strictest_standard_and_more(name):
    """Pod Security Standards, restricted; and what it leaves open: the root, the token, the limits."""
    pod, container = PODS[name]["spec"], CONTAINERS[name]
    assert len(pod["containers"]) == 1 and not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod)
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    own = container["securityContext"]
    assert own == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert all({"emptyDir", "secret", "configMap", "persistentVolumeClaim"} & set(v) for v in pod["volumes"])
    assert pod["automountServiceAccountToken"] is False and pod["enableServiceLinks"] is False
    for bound in ("requests", "limits"):
        assert {"cpu", "memory", "ephemeral-storage"} <= set(container["resources"][bound])
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
    enforced = one("Namespace", "safelight")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert enforced == "restricted"


def test_probes_ask_routes_that_exist_at_the_port_that_is_listened_to():
    container = CONTAINERS["gateway"]
    (port,) = container["ports"]
    assert str(port["containerPort"]) == environment(last_stage())["BENTOML_PORT"]
    for probe, path in {"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}.items():
        assert container[probe]["httpGet"] == {"path": path, "port": port["name"]} and path in ROUTES
    assert one("Service", "gateway")["spec"]["ports"][0]["targetPort"] == port["name"]
    scraped = PODS["gateway"]["metadata"]["annotations"]
    assert scraped["prometheus.io/port"] == str(port["containerPort"]) and scraped["prometheus.io/path"] in ROUTES


def test_requests_under_way_are_given_time():
    pause = CONTAINERS["gateway"]["lifecycle"]["preStop"]["sleep"]["seconds"]
    readiness = CONTAINERS["gateway"]["readinessProbe"]
    assert pause >= readiness["periodSeconds"]
    assert GATEWAY["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= pause + 45


def test_every_variable_is_a_setting_and_several_pods_share_what_they_must():
    values = {entry["name"]: entry.get("value", "") for entry in CONTAINERS["gateway"]["env"]}
    own = {n.removesuffix("_FILE"): "redis://redis" if n.endswith("_FILE") else v for n, v in values.items()}
    all_values = environment(last_stage()) | {name: value for name, value in own.items() if name.startswith(PREFIX)}
    settings = load_settings(ROOT, {name: value for name, value in all_values.items() if name.startswith(PREFIX)})
    assert settings.sealing.replay == settings.rates.store == "redis://redis"
    assert one("HorizontalPodAutoscaler", "gateway")["spec"]["minReplicas"] >= 2 and "replicas" not in GATEWAY["spec"]
    assert settings.access.configured and not settings.allow_plaintext
    assert settings.audit.folder == Path("/audit/$(POD_NAME)")
    limits = CONTAINERS["gateway"]["resources"]["limits"]
    assert str(settings.runtime.threads) == limits["cpu"]


@pytest.mark.parametrize("name", PODS)
def test_every_mount_has_a_volume_and_every_file_that_is_named_is_mounted(name):
    volumes = {volume["name"] for volume in PODS[name]["spec"]["volumes"]}
    if name == "redis":
        volumes |= {c["metadata"]["name"] for c in one("StatefulSet", "redis")["spec"]["volumeClaimTemplates"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINERS[name]["volumeMounts"]}
    assert set(mounts) == volumes
    named = [e["value"] for e in CONTAINERS[name].get("env", []) if e.get("value", "").startswith("/")]
    named += [value for key, value in environment(last_stage()).items() if name == "gateway" and key.startswith(PREFIX)]
    for path in named:
        assert any(Path(path).is_relative_to(place) for place in mounts.values()), path
    claims = {
        v["persistentVolumeClaim"]["claimName"] for v in PODS[name]["spec"]["volumes"] if "persistentVolumeClaim" in v
    }
    for claim in claims:
        assert one("PersistentVolumeClaim", claim)["spec"]["accessModes"] == [
            "ReadWriteMany"
        ]  # several pods, several nodes


def test_who_may_talk_to_whom():
    """Nobody, but for: ingress, relay and Prometheus to the gateway; the gateway to Redis and DNS; Redis to nobody."""
    assert one("NetworkPolicy", "nothing")["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    gateway, redis = one("NetworkPolicy", "gateway")["spec"], one("NetworkPolicy", "redis")["spec"]
    for name, policy in {"gateway": gateway, "redis": redis}.items():
        assert policy["podSelector"]["matchLabels"] == PODS[name]["metadata"]["labels"]
        assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
        assert all(
            "ipBlock" not in peer
            for rule in policy["ingress"] + policy["egress"]
            for peer in rule.get("from", []) + rule.get("to", [])
        )
        assert all(rule.get("from") or rule.get("to") for rule in policy["ingress"] + policy["egress"])
    assert [port["port"] for rule in gateway["ingress"] for port in rule["ports"]] == [3000]
    assert [port["port"] for rule in gateway["egress"] for port in rule["ports"]] == [6379, 53, 53]
    assert gateway["egress"][0]["to"] == [{"podSelector": {"matchLabels": PODS["redis"]["metadata"]["labels"]}}]
    assert redis["ingress"][0]["from"] == [{"podSelector": {"matchLabels": PODS["gateway"]["metadata"]["labels"]}}]
    assert redis["egress"] == []


def test_it_grows_with_the_queue_and_a_metric_of_that_name_is_offered():
    scaler = one("HorizontalPodAutoscaler", "gateway")["spec"]
    assert scaler["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": GATEWAY["metadata"]["name"],
    }
    (metric,) = scaler["metrics"]
    name = metric["pods"]["metric"]["name"]
    (adapter,) = (yaml.safe_load(document["data"]["config.yaml"]) for document in MONITORING)
    (rule,) = adapter["rules"]
    assert rule["name"]["as"] == name and rule["seriesQuery"].startswith(f"{name}{{")
    assert set(re.findall(r"\w+(?=!)", rule["seriesQuery"])) == set(rule["resources"]["overrides"])
    assert f'"{name}"' in (ROOT / "serving/telemetry/metrics.py").read_text()
    assert int(metric["pods"]["target"]["averageValue"]) == load_settings(ROOT, {}).batching.max_batch


def test_a_drain_takes_one_at_a_time():
    budget = one("PodDisruptionBudget", "gateway")["spec"]
    assert budget["maxUnavailable"] == 1
    assert (
        budget["selector"]["matchLabels"]
        == GATEWAY["spec"]["selector"]["matchLabels"]
        == PODS["gateway"]["metadata"]["labels"]
    )


def test_redis_is_the_one_of_compose():
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]["redis"]
    assert CONTAINERS["redis"]["image"] == compose["image"]
    assert CONTAINERS["redis"]["command"][2:] == compose["command"][2:]
    assert CONTAINERS["redis"]["command"][1] == "/run/redis/redis_conf"


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """What make_secrets.py writes, by name."""
    for folder in ("conf/serving", ".safelight"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "conf/serving/gateway.yaml", tmp_path / "conf/serving")
    (tmp_path / ".safelight/signing.pub").write_text("PUBLIC")
    command = [sys.executable, FOLDER / "make_secrets.py"]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    again = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert again.returncode == 1 and "is there already" in again.stderr
    out = tmp_path / "deploy/secrets/kubernetes.yaml"
    assert out.stat().st_mode & 0o777 == 0o600 and out.parent.stat().st_mode & 0o777 == 0o700
    return {document["metadata"]["name"]: document for document in yaml.safe_load_all(out.read_text())}


def test_every_secret_that_is_mounted_is_made_and_opens_what_it_is_for(secrets, tmp_path):
    for document in secrets.values():
        kubernetes_validate.validate(document, VERSION, strict=True)
    wanted = {}
    for pod in PODS.values():
        for volume in pod["spec"]["volumes"]:
            source = volume.get("secret", {}) | volume.get("configMap", {})
            if source:
                wanted.setdefault(source.get("secretName") or source["name"], set()).update(
                    i["key"] for i in source.get("items", [])
                )
    for name, keys in wanted.items():
        assert keys <= set(secrets[name]["data"])
    assert set(secrets) == {*wanted, "safelight-keys"}  # the API keys themselves: the gateway has their digests
    values = {
        n: {k: base64.b64decode(v) for k, v in d["data"].items()} for n, d in secrets.items() if d["kind"] == "Secret"
    }
    for name, value in values["safelight-sealing"].items():
        (tmp_path / name).write_bytes(value)
        (tmp_path / name).chmod(0o600)
    assert {key.kind for key in KeyStore(tmp_path, lambda: 2e9).in_use()} == set(load_settings(ROOT, {}).sealing.kinds)
    (tmp_path / "keys.jsonl").write_bytes(values["safelight-access"]["api-keys.jsonl"])
    scopes = {key.digest: key.scopes for key in KeyFile(tmp_path / "keys.jsonl").read()}
    assert scopes[digest_of(values["safelight-keys"]["metrics"].decode())] == {"metrics"}
    assert set(values["safelight-state"]) == {"rates.salt", "audit.key"}
    assert set(environment(last_stage())["SAFELIGHT_PUBLIC_KEYS"].split("/")) >= set(
        secrets["safelight-public-key"]["data"]
    )


def test_no_secret_is_written_down():
    assert not [document for document in [*DOCUMENTS, *MONITORING] if document["kind"] == "Secret"]
    assert not any(secret_like(path.read_text()) for path in FOLDER.rglob("*.*") if path.suffix in (".yaml", ".py"))
