"""A Hub that asks to wait, or that says nothing: it is waited for as long as it asks, within bounds."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from pretune.checkpoints import hub as client
from pretune.checkpoints.hub import fetch_refs
from pretune.checkpoints.refs import RefCache
from pretune.checkpoints.resolution import locate, resolve
from pretune.errors import HubUnreachable
from pretune.results.store import Study
from support.configs import HUB
from support.hub import clients_of, save_weights

REPO = "owner/model"


@pytest.fixture
def model(hub, tmp_path_factory):
    return hub.add_model(REPO, {"step1000-tokens4B": save_weights(tmp_path_factory.mktemp("weights"))})


@pytest.fixture
def pauses(monkeypatch):
    """The pauses that were made, instead of making them."""
    made = []
    monkeypatch.setattr(client.time, "sleep", made.append)
    return made


def test_hub_that_asks_to_wait_is_asked_again_no_sooner(hub, model, pauses):
    hub.limit["/refs"] = 2
    assert [ref.name for ref in fetch_refs(REPO)] == ["step1000-tokens4B"]
    assert [pause for pause in pauses if pause >= 1] == [7.0, 7.0]


def test_date_to_wait_for_is_understood_and_nonsense_is_not_waited_for(hub, model, pauses):
    hub.limit["/refs"], hub.retry_after = 1, format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    fetch_refs(REPO)
    assert 80 < max(pauses) <= 90
    pauses.clear()
    hub.limit["/refs"], hub.retry_after = 1, "soon"
    fetch_refs(REPO)
    assert max(pauses) < 1


def test_hub_that_asks_for_hours_is_an_error_at_once(hub, model, pauses):
    hub.limit["/refs"], hub.retry_after = 9, "7200"
    with pytest.raises(HubUnreachable, match="429"):
        fetch_refs(REPO)
    assert all(pause < 1 for pause in pauses)


def test_download_that_is_asked_to_wait_goes_on(hub, model, tmp_path, pauses):
    found = resolve(HUB, RefCache(Study(tmp_path / "study")))
    hub.limit["model.safetensors"] = 1
    assert (locate(found, str(tmp_path)) / "model.safetensors").is_file()


def test_hub_that_accepts_and_says_nothing_is_given_up_in_time(tmp_path, monkeypatch):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with clients_of(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path):
            monkeypatch.setattr(client, "FIRST_CONTACT_TIMEOUT", 0.2)
            started = time.monotonic()
            with pytest.raises(HubUnreachable, match="cannot be reached"):
                fetch_refs(REPO)
            assert time.monotonic() - started < 5
