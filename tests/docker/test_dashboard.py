"""What the dashboard shows and the alerts watch is really measured: each expression against running servers."""

import io
import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
import yaml
from PIL import Image
from skimage.data import astronaut

from client.v1.operations import OPERATIONS
from tests.client.live import body_of
from tests.conftest import PROJECT, Server, free_ports

COMPOSE = PROJECT / "docker" / "compose"
RULES = yaml.safe_load((COMPOSE / "rules.yml").read_text())["groups"][0]["rules"]
RECORDED = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
JOBS = [job["job_name"] for job in yaml.safe_load((COMPOSE / "prometheus.yml").read_text())["scrape_configs"]]
MISSING = {job: f"Face{job.title()}Missing" for job in JOBS}
PANELS = json.loads((COMPOSE / "grafana" / "face.json").read_text())["panels"]
SHOWN = [target["expr"] for panel in PANELS for target in panel["targets"]]
ALL = sorted({*SHOWN, *(rule["expr"] for rule in RULES)})

Series = tuple[str, dict[str, str]]
SERIES = re.compile(r"^(\w+)(?:\{(.*)\})? ", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')
OF_PROMETHEUS = {"up"}  # metrics and labels that it adds itself
LABELS_OF_PROMETHEUS = {"instance", "job"}
STATUSES = {str(status.value) for status in HTTPStatus}  # of which a healthy server shows few
SELECTOR = re.compile(r"(?<![\w.])([a-z_:][\w:]*)\s*(?:\{([^}]*)\})?(?!\w|\s*\()")
MATCHER = re.compile(r'(\w+)\s*(=~|=)\s*"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
KEYWORDS = {"or", "and", "unless", "bool"}
SECONDS = 20  # for Prometheus to have seen enough


def selectors(expression: str) -> list[tuple[str, dict[str, re.Pattern[str]]]]:
    """Each metric of an expression with its matchers; what is recorded by a rule, by the metrics of that rule."""
    found = []
    for name, matchers in SELECTOR.findall(GROUPING.sub(" ", re.sub(r"\[\w+]", " ", expression))):
        if name in RECORDED:
            found += selectors(RECORDED[name])
        elif name not in KEYWORDS:
            patterns = {
                label: re.compile(value if how == "=~" else re.escape(value))
                for label, how, value in MATCHER.findall(matchers)
            }
            found.append((name, patterns))
    return found


def grouping(expression: str) -> set[str]:
    """The labels that an expression groups by."""
    return {label.strip() for labels in GROUPING.findall(expression) for label in labels.split(",")}


def test_what_is_judged_is_every_route_that_works_on_pictures_and_no_probe() -> None:
    """Health checks and scrapes always succeed: among them failures would hardly be seen."""
    patterns = [matchers["route"] for expression in ALL for _, matchers in selectors(expression) if "route" in matchers]
    judged = [*selectors(RECORDED["face:failures:ratio"]), *selectors(RECORDED["face:request_seconds:p99"])]
    assert all("route" in matchers for _, matchers in judged)
    for pattern in patterns:
        assert all(map(pattern.fullmatch, ("/service", "/service/{name}", "/udl", *OPERATIONS)))
        assert not any(map(pattern.fullmatch, ("/health/live", "/health/ready", "/metrics", "/", "none")))


@pytest.mark.parametrize("job", JOBS)
def test_a_job_of_which_nothing_can_be_scraped_has_an_alert(job: str) -> None:
    """Its series go stale: no other expression about it has a value, so that no other alert fires."""
    alert = ALERTS[MISSING[job]]
    assert (alert["expr"], alert["for"]) == (f'(sum(up{{job="{job}"}}) or vector(0)) == 0', "1m")


@pytest.fixture(scope="module")
def busy(server: Server) -> Server:
    """A server that has been asked, rightly and wrongly."""
    ask(server)
    return server


def ask(server: Server) -> None:
    file = io.BytesIO()
    Image.fromarray(astronaut()).save(file, "PNG")
    photo = body_of(file.getvalue())
    for path, body in (
        ("/service/FaceEmbedModel", photo),
        ("/service/FaceEmbedModel", body_of(b"no picture")),
        ("/v1/embed?model=arcface", photo),
    ):
        request = urllib.request.Request(server.url + path, body, {"Content-Type": "application/json"})
        try:
            urllib.request.urlopen(request).close()
        except urllib.error.HTTPError as error:
            error.close()


@pytest.fixture(scope="module")
def exposed(busy: Server) -> list[Series]:
    """The name and the labels of each series that gateway and Triton expose."""
    text = ""
    for url in (f"{busy.url}/metrics", f"http://{busy.metrics}/metrics"):
        with urllib.request.urlopen(url) as answer:
            text += answer.read().decode()
    return [(name, dict(LABEL.findall(labels))) for name, labels in SERIES.findall(text)]


@pytest.mark.parametrize("expression", ALL)
def test_every_metric_and_label_of_an_expression_is_exposed(expression: str, exposed: list[Series]) -> None:
    known = set(LABELS_OF_PROMETHEUS)
    for name, matchers in selectors(expression):
        if name in OF_PROMETHEUS:
            assert matchers.keys() <= LABELS_OF_PROMETHEUS
            continue
        series = [labels for exposed_name, labels in exposed if exposed_name == name]
        assert series, f"nothing exposes {name}"
        for label, pattern in matchers.items():
            values = {labels[label] for labels in series} | (STATUSES if label == "status" else set())
            assert any(map(pattern.fullmatch, values)), f"no {label} of {name} matches"
        known |= series[0].keys()
    assert grouping(expression) <= known


def test_a_metric_that_nothing_exposes_is_noticed(exposed: list[Series]) -> None:
    for wrong in (
        "sum(rate(face_request_total[1m]))",
        "sum by (state) (rate(face_requests_total[1m]))",
        'face_requests_total{status="999"}',
        "max(nv_inference_queue_duration_ms) / 1e6",
    ):
        with pytest.raises((AssertionError, KeyError)):
            test_every_metric_and_label_of_an_expression_is_exposed(wrong, exposed)


@pytest.fixture(scope="module")
def prometheus(busy: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prometheus with the rules of docker/compose that scrapes the server each second; its address."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("there is no Prometheus on PATH; on Debian: apt-get install prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(COMPOSE / "rules.yml")]
    config["scrape_configs"] = [
        {"job_name": job["job_name"], "static_configs": [{"targets": [target]}]}
        for job, target in zip(config["scrape_configs"], (busy.url.removeprefix("http://"), busy.metrics), strict=True)
    ]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_ports(1)[0]}"
    process = subprocess.Popen(
        [
            binary,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
            "--log.level=error",
        ]
    )
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait()


def get(url: str) -> dict[str, list[dict[str, object]]]:
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)["data"]


def test_a_real_prometheus_has_a_number_for_every_panel(prometheus: str, busy: Server) -> None:
    missing, until = set(SHOWN), time.monotonic() + SECONDS
    while missing and time.monotonic() < until:
        ask(busy)
        time.sleep(0.5)
        for expression in list(missing):
            try:
                found = get(f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")["result"]
            except urllib.error.URLError:  # not listening yet
                break
            if found and all(float(series["value"][1]) >= 0 for series in found):  # NaN is not
                missing.remove(expression)
    assert not missing


def test_a_real_prometheus_evaluates_every_rule_and_has_nothing_to_alert_of(prometheus: str) -> None:
    until = time.monotonic() + SECONDS
    while True:
        rules = [rule for group in get(f"{prometheus}/api/v1/rules")["groups"] for rule in group["rules"]]
        states = {(rule["health"], rule.get("state", "inactive")) for rule in rules}
        if states == {("ok", "inactive")} or time.monotonic() > until:
            break
        time.sleep(0.5)
    assert states == {("ok", "inactive")}
    assert len(rules) == len(RULES)


def require_promtool() -> str:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool on PATH; on Debian: apt-get install prometheus")
    return promtool


def test_the_configuration_of_prometheus_is_valid() -> None:
    promtool = require_promtool()
    done = subprocess.run(
        [promtool, "check", "config", "--syntax-only", Path("prometheus.yml")], cwd=COMPOSE, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    done = subprocess.run([promtool, "check", "rules", "rules.yml"], cwd=COMPOSE, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("up", [None, 0, 1], ids=["no target", "none scraped", "scraped"])
def test_only_what_cannot_be_scraped_is_alerted_of_as_missing(up: int | None, tmp_path: Path) -> None:
    promtool = require_promtool()
    series = [{"series": f'up{{job="{job}",instance="a"}}', "values": f"{up}x20"} for job in JOBS]
    fired = [] if up else list(MISSING.values())
    expected = [
        {
            "eval_time": "2m",
            "alertname": name,
            "exp_alerts": [{"exp_annotations": alert["annotations"]}] if name in fired else [],
        }
        for name, alert in ALERTS.items()
    ]
    test = {"interval": "15s", "input_series": [] if up is None else series, "alert_rule_test": expected}
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(COMPOSE / "rules.yml")], "tests": [test]}))
    done = subprocess.run([promtool, "test", "rules", file], capture_output=True)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
