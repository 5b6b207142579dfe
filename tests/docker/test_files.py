"""What the files in docker/ say twice is the same both times. scripts/check-deploy holds them against their schemas."""

import re
from pathlib import Path
from typing import Any

import yaml

from client.settings import Settings
from tests.conftest import PROJECT

DOCKER = PROJECT / "docker"
KUBERNETES = DOCKER / "kubernetes"


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def deployment(name: str) -> dict[str, Any]:
    return next(found for found in documents(KUBERNETES / "base" / f"{name}.yaml") if found["kind"] == "Deployment")


def test_kserve_runs_the_pods_of_the_deployment():
    (service,) = documents(KUBERNETES / "overlays" / "kserve" / "inferenceservice.yaml")
    theirs, ours = service["spec"]["predictor"], deployment("triton")["spec"]["template"]
    assert theirs.pop("labels") == ours["metadata"]["labels"]
    assert theirs.pop("minReplicas") == 2
    (container,) = theirs["containers"]
    container["name"], container["ports"][0]["name"] = "triton", "grpc"
    assert theirs == ours["spec"]


def test_the_proxy_lets_pass_what_the_gateway_takes():
    text = (DOCKER / "compose" / "nginx.conf").read_text()
    settings = Settings()
    (body,) = re.findall(r"client_max_body_size (\d+)m;", text)
    assert int(body) * 1024 * 1024 == settings.max_body_bytes
    (wait,) = re.findall(r"proxy_read_timeout (\d+)s;", text)
    assert settings.deadline_seconds < int(wait) < 2 * settings.deadline_seconds
    assert f"client_header_timeout {settings.header_seconds:.0f}s;" in text
    assert f"send_timeout {settings.send_seconds:.0f}s;" in text


def test_the_proxy_asks_anew_where_the_gateway_is():
    """nginx asks for a name of its own once, at its start, and for one in a variable as long as the resolver says."""
    text = (DOCKER / "compose" / "nginx.conf").read_text()
    (variable,) = re.findall(r"proxy_pass http://\$(\w+):8080;", text)
    assert f"set ${variable} gateway;" in text
    assert "resolver 127.0.0.11 valid=" in text


def test_a_pod_has_longer_to_end_than_its_program_takes():
    for name in ("gateway", "triton"):
        pod = deployment(name)["spec"]["template"]["spec"]
        sleeps = [one["lifecycle"]["preStop"]["sleep"]["seconds"] for one in pod["containers"] if "lifecycle" in one]
        program = Settings().drain_seconds + Settings().deadline_seconds
        assert pod["terminationGracePeriodSeconds"] > program + sum(sleeps)  # it counts from before preStop


def test_a_gateway_listens_until_nobody_sends_it_new_connections():
    """kube-proxy and an Ingress learn a second or more after SIGTERM would come that a pod is to end."""
    (container,) = deployment("gateway")["spec"]["template"]["spec"]["containers"]
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] >= 5


def test_no_service_of_the_cluster_adds_settings_to_a_pod():
    """Kubernetes would name the address of a Service called face in FACE_SERVICE_HOST, which is no setting."""
    for name in ("gateway", "triton"):
        assert deployment(name)["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_the_autoscaler_reads_the_metric_that_the_adapter_makes():
    scaler = next(
        found for found in documents(KUBERNETES / "base" / "triton.yaml") if found["kind"] == "HorizontalPodAutoscaler"
    )
    (metric,) = scaler["spec"]["metrics"]
    (rule,) = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
