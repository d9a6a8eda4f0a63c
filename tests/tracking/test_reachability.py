from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pretune.tracking.reachability import answers, choose_mode, find_key

URL = "http://127.0.0.1:9"
KEY = "0123456789" * 4


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        "WANDB_API_KEY",
        "WANDB_IDENTITY_TOKEN_FILE",
        "NETRC",
        "http_proxy",
        "HTTP_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A socket that accepts connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def server() -> Iterator[str]:
    class Refuse(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(int(self.path.strip("/") or 404))
            self.send_header("Location", "http://127.0.0.1:9/")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Refuse) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def test_a_server_that_says_anything_answers(server: str) -> None:
    assert answers(server)
    assert answers(f"{server}/301")
    assert answers(f"{server}/200")
    assert not answers(f"{server}/502")


def test_refused_unknown_and_silent_hosts_do_not_answer(silent_server: str) -> None:
    assert not answers(URL)
    assert not answers("http://no-such-host.invalid")
    started = time.perf_counter()
    assert not answers(silent_server, connect_seconds=0.5)
    assert not answers(silent_server, connect_seconds=60, seconds=0.5)
    assert time.perf_counter() - started < 3


def test_key_of_the_environment_or_netrc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert not find_key("https://a.example")
    (tmp_path / ".netrc").write_text(f"machine a.example\n  login user\n  password {KEY}\n")
    assert find_key("https://a.example")
    assert not find_key("https://b.example")
    assert find_key("https://b.example", "https://a.example")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert not find_key("https://a.example")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert find_key("https://b.example")
    monkeypatch.delenv("WANDB_API_KEY")
    (tmp_path / "broken").write_text("machine")
    monkeypatch.setenv("NETRC", str(tmp_path / "broken"))
    assert not find_key("https://a.example")


@pytest.mark.parametrize(
    ("offline", "wished", "key", "expected", "reason"),
    [
        (None, None, False, "offline", "no API key"),
        (None, None, True, "offline", "did not answer"),
        (None, "offline", True, "offline", "WANDB_MODE=offline"),
        (None, "dryrun", True, "offline", "WANDB_MODE=dryrun"),
        (None, "disabled", True, "disabled", ""),
        (None, "online", True, "online", ""),
        (None, "online", False, "offline", "no API key"),
        (True, "online", True, "offline", "logger.offline=true"),
        (True, "disabled", True, "offline", "logger.offline=true"),
        (False, "offline", True, "online", ""),
        (False, None, False, "offline", "no API key"),
    ],
)
def test_mode(offline: bool | None, wished: str | None, key: bool, expected: str, reason: str) -> None:
    mode = choose_mode(offline=offline, wished=wished, base_url=URL, key_in_settings=key)
    assert mode.name == expected
    assert reason in mode.reason


def test_online_by_itself(server: str) -> None:
    assert choose_mode(offline=None, wished=None, base_url=server, key_in_settings=True).name == "online"
