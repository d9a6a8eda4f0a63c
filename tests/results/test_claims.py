from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from pretune.errors import ClaimLost, UsageError
from pretune.results import claims
from pretune.results.claims import Claim, Watch, find_lease, read_holders, read_token, this_machine


@pytest.fixture
def path(tmp_path):
    return tmp_path / "claims" / "cell.json"


def forge(path, **changes):
    """A claim of somebody else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"token": "theirs", "machine": "elsewhere", "pid": 1, "beat": 0.0, **changes}))


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_of_two_claimants_one_wins(path):
    first, second = Claim(path), Claim(path)
    assert first.try_acquire()
    assert not second.try_acquire()
    assert not first.try_acquire()
    first.check()
    with pytest.raises(ClaimLost):
        second.check()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_of_many_simultaneous_claimants_one_wins(path):
    contenders = [Claim(path) for _ in range(16)]
    gate, won = threading.Barrier(len(contenders)), []

    def contend(claim):
        gate.wait()
        if claim.try_acquire():
            won.append(claim)

    threads = [threading.Thread(target=contend, args=(claim,)) for claim in contenders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert read_token(path) == won[0].token


def test_claims_work_on_a_file_system_without_links(path, monkeypatch):
    def refuse(*_):
        raise PermissionError("links are not supported")

    monkeypatch.setattr(os, "link", refuse)
    first, second = Claim(path), Claim(path)
    assert first.try_acquire()
    assert not second.try_acquire()
    first.check()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_released_claim_can_be_taken_again(path):
    first, second = Claim(path), Claim(path)
    first.try_acquire()
    second.release()  # not its own
    assert read_token(path) == first.token
    first.release()
    assert read_token(path) is None
    assert second.try_acquire()


def test_unchanged_claim_becomes_stale_after_a_lease_of_watching(path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: now[0])
    forge(path)
    watch = Watch(lease_seconds=60)
    assert not watch.is_stale(path)  # its age by its own clock means nothing
    now[0] += 59
    assert not watch.is_stale(path)
    now[0] += 2
    assert watch.is_stale(path)


def test_renewed_claim_starts_a_new_lease(path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: now[0])
    forge(path)
    watch = Watch(lease_seconds=60)
    watch.is_stale(path)
    now[0] += 61
    forge(path, beat=1.0)
    assert not watch.is_stale(path)
    now[0] += 61
    assert watch.is_stale(path)


@pytest.mark.parametrize("skew", [-86_400.0, 0.0, 86_400.0])
def test_clocks_of_other_machines_do_not_matter(path, monkeypatch, skew):
    """Neither a clock that is a day off nor one that stands still makes a living owner stale or a dead one alive."""
    monkeypatch.setattr(time, "time", lambda: 1e9 + skew)
    claim, watch = Claim(path), Watch(lease_seconds=60)
    claim.try_acquire()
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for _ in range(3):
        assert not watch.is_stale(path)
        now[0] += 50
        claim.renew()
    assert not watch.is_stale(path)
    now[0] += 61
    assert watch.is_stale(path)


def test_link_that_was_made_although_the_answer_was_lost_counts(path, monkeypatch):
    """A network file system sends the request again when the answer was lost, and is told that the link exists."""
    real = os.link

    def link_twice(*places):
        real(*places)
        real(*places)

    monkeypatch.setattr(os, "link", link_twice)
    claim = Claim(path)
    assert claim.try_acquire()
    claim.check()


@pytest.mark.parametrize("given", ["soon", "0", "-1", "inf", "nan"])
def test_lease_is_a_number_of_seconds(monkeypatch, given):
    monkeypatch.setenv("PRETUNE_LEASE_SECONDS", given)
    with pytest.raises(UsageError, match=f"PRETUNE_LEASE_SECONDS={given}: must be a number of seconds above 0"):
        find_lease()
    monkeypatch.setenv("PRETUNE_LEASE_SECONDS", "2.5")
    assert Watch().lease_seconds == 2.5


def test_missing_claim_is_not_stale(path):
    assert not Watch().is_stale(path)


def test_dead_process_of_this_machine_is_stale_at_once(path):
    forge(path, machine=this_machine(), pid=dead_pid())
    assert Watch(lease_seconds=1e9).is_stale(path)


@pytest.mark.parametrize(
    "owner",
    [
        {"machine": "elsewhere", "pid": 2**22 + 1},
        {"machine": None},
        {"pid": "no number"},
        {"pid": 10**30},
    ],
)
def test_strange_owner_is_left_to_the_lease(path, owner):
    forge(path, **{"machine": this_machine(), **owner})
    assert not Watch(lease_seconds=1e9).is_stale(path)


def test_container_that_shares_the_name_of_its_host_is_another_machine(path, monkeypatch):
    """It sees other processes: that it does not see the owner does not mean that the owner is dead."""
    forge(path, machine=this_machine(), pid=dead_pid())
    this_machine.cache_clear()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "readlink", lambda place: "pid:[1]")
            assert not Watch(lease_seconds=1e9).is_stale(path)
    finally:
        this_machine.cache_clear()


def test_living_process_of_this_machine_is_not_stale(path):
    Claim(path).try_acquire()
    assert not Watch(lease_seconds=1e9).is_stale(path)


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff\xfe", b'{"machine": 1}'])
def test_damaged_claim_is_nobodys_and_becomes_stale_like_any_other(path, body):
    path.parent.mkdir(parents=True)
    path.write_bytes(body)
    assert read_token(path) == ""
    assert not Claim(path).try_acquire()
    watch = Watch(lease_seconds=-1)
    assert not watch.is_stale(path)
    assert watch.is_stale(path)


def test_taken_over_owner_finds_out(path):
    sleeper, successor, watch = Claim(path), Claim(path), Watch(lease_seconds=-1)
    sleeper.try_acquire()
    watch.is_stale(path)
    assert watch.is_stale(path)
    watch.take_over(path)
    assert successor.try_acquire()
    for action in (sleeper.check, sleeper.renew):
        with pytest.raises(ClaimLost, match=r"cell\.json"):
            action()
    sleeper.release()
    successor.check()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_late_take_over_gives_a_fresh_claim_back(path):
    """ABA: between our look at the stale claim and our rename another process took over and claimed."""
    forge(path)
    slow = Watch(lease_seconds=-1)
    slow.is_stale(path)
    assert slow.is_stale(path)
    quick = Watch(lease_seconds=-1)
    quick.is_stale(path)
    quick.take_over(path)
    fresh = Claim(path)
    assert fresh.try_acquire()
    slow.take_over(path)
    fresh.check()
    assert not Claim(path).try_acquire()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_taking_over_what_is_gone_does_nothing(path):
    forge(path)
    watch = Watch(lease_seconds=-1)
    watch.is_stale(path)
    path.unlink()
    watch.take_over(path)
    assert list(path.parent.iterdir()) == []


def wait_for(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def test_heartbeat_keeps_a_claim_alive_and_releases_it(path, monkeypatch):
    monkeypatch.setattr(claims, "HEARTBEAT_SECONDS", 0.01)
    claim, watch = Claim(path), Watch(lease_seconds=1e9)
    claim.try_acquire()
    with claim.kept_alive():
        seen = path.read_bytes()
        wait_for(lambda: path.read_bytes() != seen)
        assert read_token(path) == claim.token
        assert not watch.is_stale(path)
    assert not path.exists()


def test_heartbeat_survives_a_hiccup_of_the_file_system(path, monkeypatch):
    monkeypatch.setattr(claims, "HEARTBEAT_SECONDS", 0.01)
    claim, failed = Claim(path), []
    claim.try_acquire()
    real = os.replace

    def stumble(*places):
        if not failed:
            failed.append(places)
            raise OSError("stale file handle")
        real(*places)

    monkeypatch.setattr(os, "replace", stumble)
    with claim.kept_alive():
        wait_for(lambda: failed)
        seen = path.read_bytes()
        wait_for(lambda: path.read_bytes() != seen)


def test_heartbeat_of_a_lost_claim_leaves_the_new_owner_alone(path, monkeypatch):
    monkeypatch.setattr(claims, "HEARTBEAT_SECONDS", 0.01)
    claim = Claim(path)
    claim.try_acquire()
    with claim.kept_alive():
        path.unlink()
        successor = Claim(path)
        assert successor.try_acquire()
        wait_for(lambda: not any(t.name == "claim-heartbeat" and t.is_alive() for t in threading.enumerate()))
    successor.check()


def test_who_works_on_what_is_known_by_the_request(path):
    folder = path.parent
    assert Claim(path, "mine").try_acquire()
    forge(folder / "evaluate-a-0123.json", request_key="theirs", machine="elsewhere boot", pid=7)
    os.utime(folder / "evaluate-a-0123.json", (0, 0))
    forge(folder / "evaluate-a-4567.json", request_key="dead", machine=this_machine(), pid=dead_pid())
    forge(folder / "evaluate-a-89ab.json")  # of a ladder, or of a version that named no request
    forge(folder / "evaluate-a-cdef.json", request_key="mad", machine="", pid="x")
    (folder / "evaluate-a-half.json").write_text('{"token": ')
    found = read_holders(folder)
    assert set(found) == {"mine", "theirs"}
    assert (found["mine"].pid, found["mine"].silent < 60) == (os.getpid(), True)
    assert (found["theirs"].pid, found["theirs"].host, found["theirs"].silent > 1e6) == (7, "elsewhere", True)
    assert read_holders(folder / "none") == {}
