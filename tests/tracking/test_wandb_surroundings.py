"""W&B without a key, without a network, with a broken service: each in a process of its own, with no input."""

from __future__ import annotations

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from wandb_file import find_runs

SCRIPT = """
import logging, os, signal, subprocess, sys, time, types
for name in ("lightning", "lightning.pytorch", "lightning.pytorch.loggers", "lightning.pytorch.loggers.logger"):
    sys.modules[name] = types.ModuleType(name)  # importing Lightning itself takes longer than all the rest
sys.modules["lightning.pytorch.loggers.logger"].Logger = object
from pathlib import Path
import pandas as pd
from pretune.config.running import Logger
from pretune.tracking import RunInfo, open_tracker

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
study, offline = Path(sys.argv[1]), {"null": None, "false": False, "true": True}[sys.argv[2]]
if "impatient" in sys.argv:
    from pretune.tracking import wandb_runs
    wandb_runs.RUN_SETTINGS["init_timeout"] = wandb_runs.RUN_SETTINGS["finish_timeout"] = 3.0
tracker = open_tracker(Logger(offline=offline), study)
for number in range(3):
    started = time.perf_counter()
    config = {"checkpoint/step": number}
    run = tracker.start(RunInfo(id=f"cell-{number}", name="n", group="g", job_type="train", config=config))
    if f"kill={number}" in sys.argv:
        children = subprocess.run(["pgrep", "-P", str(os.getpid()), "wandb-core"], capture_output=True, text=True)
        for pid in children.stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.3)
    for logger in run.loggers:
        for step in range(3):
            logger.log_metrics({"train/loss": 1.0}, step=step)
    run.summarize({"number": number})
    if "no-table" not in sys.argv:
        run.add_table("cells", pd.DataFrame({"a": [1]}))
    run.finish()
    if number != 0:  # the first imports
        assert time.perf_counter() - started < 5, time.perf_counter() - started
tracker.close()
print("trained")
"""

KEY = "0123456789" * 4


def run_script(tmp_path: Path, *args: str, timeout: float = 40, **environment: str) -> Any:
    home = tmp_path / "home"
    folder = tmp_path / "cwd"
    home.mkdir(exist_ok=True)
    folder.mkdir(exist_ok=True)
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("WANDB_") and "proxy" not in name.lower()
    }
    kept.pop("NETRC", None)
    source = Path(__file__).parents[2] / "src"
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "study"), *args],
        env={**kept, "HOME": str(home), "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", **environment},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "trained\n"
    assert list(folder.iterdir()) == []
    return result


def test_no_key(tmp_path: Path) -> None:
    result = run_script(tmp_path, "null")
    assert result.stderr.count("wandb sync") == 1
    assert "no API key" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert [run.summary["number"] for run in find_runs(tmp_path / "study")] == [0, 1, 2]
    assert not (tmp_path / "home" / ".netrc").exists()


def test_online_is_wished_without_a_key(tmp_path: Path) -> None:
    result = run_script(tmp_path, "false", WANDB_MODE="online")
    assert "no API key" in result.stderr
    assert len(find_runs(tmp_path / "study")) == 3


def test_key_but_nobody_listens(tmp_path: Path) -> None:
    result = run_script(tmp_path, "null", WANDB_API_KEY=KEY, WANDB_BASE_URL="http://127.0.0.1:9")
    assert "http://127.0.0.1:9 did not answer" in result.stderr
    assert len(find_runs(tmp_path / "study")) == 3


def test_key_but_the_server_never_answers(tmp_path: Path) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        result = run_script(tmp_path, "null", WANDB_API_KEY=KEY, WANDB_BASE_URL=url)
    assert "did not answer" in result.stderr
    assert len(find_runs(tmp_path / "study")) == 3


def test_online_fails_at_the_first_run(tmp_path: Path) -> None:
    """Online by the user's word with a server that is not there: one wait, then offline."""
    result = run_script(tmp_path, "false", "impatient", WANDB_API_KEY=KEY, WANDB_BASE_URL="http://127.0.0.1:9")
    assert result.stderr.count("going on offline") == 1
    assert len(find_runs(tmp_path / "study")) == 3


def test_malformed_key(tmp_path: Path) -> None:
    result = run_script(tmp_path, "false", WANDB_API_KEY="too short", WANDB_BASE_URL="http://127.0.0.1:9")
    assert "going on offline" in result.stderr
    assert len(find_runs(tmp_path / "study")) == 3


def test_disabled_by_the_environment(tmp_path: Path) -> None:
    result = run_script(tmp_path, "null", WANDB_MODE="disabled")
    assert result.stderr == ""
    assert find_runs(tmp_path / "study") == []


def test_service_is_killed(tmp_path: Path) -> None:
    result = run_script(tmp_path, "null", "kill=1")
    assert result.stderr.count("WARNING") == 1
    assert {0, 2} <= {run.summary.get("number") for run in find_runs(tmp_path / "study", seconds=0)}


def test_service_is_killed_at_the_end(tmp_path: Path) -> None:
    result = run_script(tmp_path, "null", "kill=2")
    assert result.stderr.count("WARNING") == 1
    assert "Traceback" not in result.stderr


def test_online(tmp_path: Path) -> None:
    with FakeServer() as server:
        result = run_script(tmp_path, "null", "no-table", WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url)
    assert "WARNING" not in result.stderr
    assert "wandb sync" not in result.stderr
    assert f"W&B: {server.url}/me/pretune/runs/cell-0" in result.stderr
    assert find_runs(tmp_path / "study") == []
    assert {run["name"] for run in server.runs} == {"cell-0", "cell-1", "cell-2"}
    assert {(run["groupName"], run["jobType"]) for run in server.runs if run["groupName"]} == {("g", "train")}
    lines = [
        line for path, sent in server.streams if "cell-1/" in path for line in lines_of(sent, "wandb-history.jsonl")
    ]
    assert [(line["trainer/step"], line["train/loss"]) for line in lines] == [(0, 1), (1, 1), (2, 1)]
    last = [
        line for path, sent in server.streams if "cell-1/" in path for line in lines_of(sent, "wandb-summary.json")
    ][-1]
    assert (last["number"], last["checkpoint/step"]) == (1, 1)


def test_server_goes_away(tmp_path: Path) -> None:
    """The first run cannot be uploaded in time; the others do not try."""
    with FakeServer(uploads=False) as server:
        result = run_script(tmp_path, "null", "impatient", "no-table", WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url)
    assert result.stderr.count("WARNING") == 1
    assert "finishing the run failed" in result.stderr
    assert "uploading an earlier run took too long" in result.stderr
    assert [run.id for run in find_runs(tmp_path / "study")] == ["cell-1", "cell-2"]


def lines_of(sent: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in sent.get("files", {}).get(name, {}).get("content", [])]


class FakeServer:
    """As much of W&B's server as a run without tables needs."""

    def __init__(self, *, uploads: bool = True) -> None:
        self.runs: list[dict[str, Any]] = []
        self.streams: list[tuple[str, dict[str, Any]]] = []
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, value: object) -> None:
                data = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_HEAD(self) -> None:
                self.send_response(404)
                self.end_headers()

            def do_PUT(self) -> None:
                self.do_POST()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.path.endswith("/graphql"):
                    self.answer(fake.query(json.loads(body)))
                    return
                if not uploads:
                    self.send_error(500)
                    return
                if self.path.endswith("/file_stream"):
                    fake.streams.append((self.path, json.loads(body)))
                self.answer({})

            def log_message(self, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def query(self, asked: dict[str, Any]) -> dict[str, Any]:
        text, values = asked["query"], asked.get("variables") or {}
        if "upsertBucket" in text:
            self.runs.append(values)
            project = {"id": "p", "name": "pretune", "entity": {"id": "e", "name": "me"}}
            bucket = {
                "id": "x",
                "name": values.get("name"),
                "displayName": values.get("displayName"),
                "project": project,
            }
            return {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}}
        if "createRunFiles" in text:
            files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in values["files"]]
            return {"data": {"createRunFiles": {"runID": "x", "uploadHeaders": [], "files": files}}}
        return {"data": {}}

    def __enter__(self) -> FakeServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_under_an_agent_the_first_run_is_the_agents(tmp_path: Path) -> None:
    environment = {"WANDB_SWEEP_ID": "sweep1", "WANDB_RUN_ID": "fromagent", "WANDB_MODE": "offline"}
    run_script(tmp_path, "null", **environment)
    runs = find_runs(tmp_path / "study")
    assert [run.id for run in runs] == ["fromagent", "cell-1", "cell-2"]
    assert [run.config["checkpoint/step"] for run in runs] == [0, 1, 2]
