"""Dashboards and rules: generated as said, asking for metrics that exist and for SQL that the store answers."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import uvicorn
import yaml
from maslens.analytics.metrics import Exposition, Part
from maslens.analytics.server import create_app
from maslens.analytics.sidecar import SidecarStatus
from maslens.analytics.totals import FAMILIES
from maslens.analytics.watch import Watch
from maslens.storage import Store, open_store
from prometheus_client.samples import Exemplar

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
RULES = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian package prometheus) is not installed")


def targets(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target


def promql() -> Iterator[str]:
    for path in DASHBOARDS:
        for _, target in targets(path):
            if "expr" in target:
                yield target["expr"].replace("$__rate_interval", "5m").replace("$agent", ".*")
    for path in RULES:
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            yield from (rule["expr"] for rule in group["rules"])


def test_dashboards_are_what_the_script_makes() -> None:
    made = subprocess.run(
        [sys.executable, str(DEPLOY / "grafana" / "make.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert (made.returncode, made.stderr) == (0, "")


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_do_not_overlap_and_have_their_own_ids(path: Path) -> None:
    panels = json.loads(path.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


# What receiver, journal, loader and budgets count, as far as dashboards and rules ask for it.
RECEIVER = {
    "maslens_receiver": ("items_total", "refused_requests_total", "rejected_items_total", "refusing"),
    "maslens_journal": ("disk_bytes", "lag_bytes", "lag_seconds"),
    "maslens_budget": ("used_ratio", "burn_rate_1h", "burn_rate_6h"),
    "maslens_loader": (
        "loaded_items_total",
        "inserts_total",
        "insert_seconds_total",
        "retries_total",
        "dead_letters_total",
        "dead_letter_files",
    ),
}
ELSEWHERE = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}


def known_metrics() -> set[str]:
    status = SidecarStatus(facts_written_total={"sessions": 1}, series_limited_total={"maslens_handoffs": 1})

    class Nothing:
        def shown(self) -> dict[str, float]:
            return {}

        def exemplars(self) -> dict[str, Any]:
            return {}

    parts, watch = [Part(prefix="maslens_sidecar", snapshot=lambda: status)], Watch(cast(Store, None))
    text = Exposition(Nothing(), parts, gauges=[watch.gauges], process=False).render()[0]
    names = set(re.findall(r"^# TYPE (\S+)", text.decode(), re.MULTILINE))
    histograms = {name for name, family in FAMILIES.items() if family.kind == "histogram"}
    names |= {f"{name}_{part}" for name in histograms for part in ("bucket", "sum", "count")}
    names |= {f"{prefix}_{name}" for prefix, counted in RECEIVER.items() for name in counted}
    recorded = {
        rule["record"]
        for path in RULES
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
        if "record" in rule
    }
    return names | recorded | ELSEWHERE


def test_every_metric_asked_for_exists() -> None:
    known = known_metrics()
    asked = {name for expr in promql() for name in re.findall(r"\b(?:maslens[:_][a-z0-9_:]+|process_\w+)", expr)}
    asked |= {name for expr in promql() if "up{" in expr for name in ("up",)}
    assert len(asked) > 25
    assert asked <= known


@needs_promtool
def test_every_expression_is_promql(tmp_path: Path) -> None:
    rules = [{"record": f"test:{number}", "expr": expr} for number, expr in enumerate(promql())]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}), encoding="utf-8")
    for arguments in (
        ["rules", str(path)],
        ["rules", *map(str, RULES)],
        ["config", str(DEPLOY / "prometheus" / "prometheus.yml")],
    ):
        said = subprocess.run([str(PROMTOOL), "check", *arguments], capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stdout + said.stderr


@needs_promtool
def test_alerts_speak_up_when_they_should(tmp_path: Path) -> None:
    """billing fails in 4 of 10 runs and spends 72 dollars an hour; triage does well; the store is away."""
    runs = 'maslens_agent_runs_total{agent="%s", agent_version="", status="%s", job="maslens"}'
    test = {
        "rule_files": [str(path) for path in RULES],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": runs % ("billing", "ok"), "values": "0+6x120"},
                    {"series": runs % ("billing", "error"), "values": "0+4x120"},
                    {"series": runs % ("triage", "ok"), "values": "0+10x120"},
                    {"series": 'maslens_agent_cost_usd_total{agent="billing", model="m"}', "values": "0+1.2x120"},
                    {"series": 'maslens_journal_lag_seconds{instance="a"}', "values": "0x59 120x60"},
                    {"series": 'up{job="maslens", instance="a"}', "values": "1x120"},
                ],
                "alert_rule_test": [
                    alert(
                        "AgentFailsOften",
                        "90m",
                        {"severity": "warning", "agent": "billing"},
                        "billing: 40% of its runs fail",
                    ),
                    alert("AgentsSpendTooFast", "90m", {"severity": "warning"}, "Agents spend 72 US dollars an hour"),
                    alert(
                        "MaslensStoreAway",
                        "90m",
                        {"severity": "critical", "instance": "a"},
                        "a: acknowledged spans have waited 2m 0s for the store",
                    ),
                    {"alertname": "MaslensDown", "eval_time": "90m", "exp_alerts": []},
                    {"alertname": "MaslensStoreAway", "eval_time": "50m", "exp_alerts": []},
                    {"alertname": "AgentSlowerThanUsual", "eval_time": "90m", "exp_alerts": []},
                ],
            }
        ],
    }
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump(test), encoding="utf-8")
    said = subprocess.run([str(PROMTOOL), "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr


def alert(name: str, when: str, labels: dict[str, str], summary: str) -> dict[str, Any]:
    rules = [
        rule
        for path in RULES
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]
    annotations = dict(next(rule for rule in rules if rule.get("alert") == name)["annotations"])
    annotations["summary"] = summary
    return {
        "alertname": name,
        "eval_time": when,
        "exp_alerts": [{"exp_labels": labels, "exp_annotations": annotations}],
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = open_store(f"chdb://{tmp_path_factory.mktemp('deploy')}")
    store.migrate()
    yield store
    store.close()


def test_the_store_answers_what_panels_ask(store: Store) -> None:
    """With the macros of Grafana's ClickHouse data source filled in as it does."""
    asked = 0
    for path in DASHBOARDS:
        for title, target in targets(path):
            if "rawSql" not in target:
                continue
            sql = re.sub(
                r"\$__timeFilter\((\w+)\)",
                r"\1 >= toDateTime(1700000000) AND \1 <= toDateTime(1800000000)",
                target["rawSql"],
            )
            sql = re.sub(r"\$__timeInterval\((\w+)\)", r"toStartOfInterval(toDateTime(\1), INTERVAL 60 second)", sql)
            assert "$" not in sql, title
            store.rows(sql)
            asked += 1
    assert asked > 10


PROMETHEUS = shutil.which("prometheus")


@pytest.mark.skipif(PROMETHEUS is None, reason="Prometheus (Debian package prometheus) is not installed")
def test_a_real_prometheus_scrapes_us(store: Store, tmp_path: Path) -> None:
    """Counters, histograms and exemplars arrive, and the recording rules make series of them."""
    counted = {
        'maslens_agent_runs{"agent":"billing \\"two\\"","agent_version":"","status":"ok"}': 3.0,
        'maslens_agent_run_duration_seconds{"agent":"billing","le":"5"}': 3.0,
        'maslens_agent_run_duration_seconds{"agent":"billing","le":"sum"}': 9.0,
    }
    trace = Exemplar({"trace_id": "ab" * 16}, 3.0, time.time())

    class Numbers:
        def shown(self) -> dict[str, float]:
            return counted

        def exemplars(self) -> dict[str, Exemplar]:
            return {'maslens_agent_run_duration_seconds{"agent":"billing","le":"5"}': trace}

    listening, other = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    port = other.getsockname()[1]
    other.close()
    app = create_app(store, exposition=Exposition(Numbers()))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(path) for path in RULES]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{listening.getsockname()[1]}"]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    prometheus = subprocess.Popen(
        [
            str(PROMETHEUS),
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--enable-feature=exemplar-storage",
            "--log.level=error",
        ]
    )

    def asked(path: str, **params: str) -> Any:
        try:
            with urlopen(f"http://127.0.0.1:{port}/api/v1/{path}?{urlencode(params)}", timeout=5) as answer:
                return json.loads(answer.read())["data"]
        except OSError:
            return None

    def soon(path: str, **params: str) -> Any:
        for _ in range(240):
            found = asked(path, **params)
            if found and (found if isinstance(found, list) else found["result"]):
                return found
            time.sleep(0.25)
        raise AssertionError(f"{path} {params} stayed empty")

    try:
        runs = soon("query", query='maslens_agent_runs_total{agent="billing \\"two\\""}')
        assert runs["result"][0]["value"][1] == "3"
        count = soon("query", query='maslens_agent_run_duration_seconds_count{agent="billing"}')
        assert count["result"][0]["value"][1] == "3"
        found = soon(
            "query_exemplars",
            query="maslens_agent_run_duration_seconds_bucket",
            start=str(time.time() - 300),
            end=str(time.time() + 60),
        )
        assert found[0]["exemplars"][0]["labels"] == {"trace_id": "ab" * 16}
        assert soon("query", query="maslens:agent_runs:rate5m")
        assert asked("query", query="up")["result"][0]["value"][1] == "1"
    finally:
        prometheus.terminate()
        prometheus.wait(timeout=20)
        server.should_exit = True
        thread.join(timeout=10)
        listening.close()
