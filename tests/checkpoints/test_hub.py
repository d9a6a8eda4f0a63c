"""The real clients against a Hub on the loopback."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from pretune.checkpoints.hub import fetch_refs
from pretune.checkpoints.loading import check_vocabulary, load_model, load_tokenizer
from pretune.checkpoints.refs import RefCache
from pretune.checkpoints.resolution import locate, refuse_equal_weights, resolve
from pretune.data.remote import bytes_to_download
from pretune.data.sources import load_split
from pretune.errors import CheckpointError, DataError, HubUnreachable
from pretune.results.store import Study
from support.configs import HUB, NLI, change
from support.hub import clients_of, parquet, save_weights
from support.models import make_model, make_tokenizer

REPO = "owner/model"
NAMED = change(HUB, "step", None)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Folders of files of three different models."""
    files = []
    for seed in range(3):
        files.append(save_weights(tmp_path_factory.mktemp("weights"), seed=seed))
    return files


@pytest.fixture
def refs(tmp_path):
    return RefCache(Study(tmp_path / "study"))


@pytest.fixture
def model(hub, weights):
    return hub.add_model(
        REPO, {"main": weights[1], "step1000-tokens4B": weights[0], "step2000-tokens8B": weights[1], "v1": weights[2]},
        tags=frozenset({"v1"}),
    )  # fmt: skip


ROWS = [{"premise": f"p{i}", "hypothesis": "h", "label": i % 3} for i in range(6)]


def test_branches_and_tags_are_listed_with_their_commits(hub, model):
    assert {ref.name: ref.commit for ref in fetch_refs(REPO)} == {name: model.commit(name) for name in model.revisions}


def test_step_is_looked_up_and_its_weights_identified_without_a_download(hub, model, weights, refs):
    import hashlib

    found = resolve(HUB, refs)
    assert (found.revision, found.step, found.commit) == ("step1000-tokens4B", 1000, model.commit("step1000-tokens4B"))
    assert (found.tokens, found.label, found.phase) == (1000 * 4_194_304, "step1000", "main")
    assert found.hashes == {"model.safetensors": hashlib.sha256(weights[0]["model.safetensors"]).hexdigest()}
    assert not any("resolve" in request for request in hub.requests)
    assert resolve(change(HUB, "step", 2000), refs).identity != found.identity


def test_named_revision_and_commit_are_found(hub, model, refs):
    tagged = resolve(change(NAMED, "revision", "v1"), refs)
    assert (tagged.commit, tagged.step, tagged.label) == (model.commit("v1"), None, "v1")
    by_commit = resolve(change(NAMED, "revision", tagged.commit), refs)
    assert by_commit.identity == tagged.identity
    by_name = resolve(change(NAMED, "revision", "step1000-tokens4B"), refs)
    assert by_name.step == 1000
    main = resolve(NAMED, refs)
    assert (main.label, main.step, main.tokens) == ("main", HUB.final_step, HUB.final_step * HUB.tokens_per_step)


def test_missing_step_revision_and_repository_are_named(hub, model, refs):
    with pytest.raises(CheckpointError, match=r"checkpoint\.step=1500: .*nearest: 1000, 2000"):
        resolve(change(HUB, "step", 1500), refs)
    with pytest.raises(CheckpointError, match=r"checkpoint\.revision=v2: .*did you mean v1"):
        resolve(change(NAMED, "revision", "v2"), refs)
    with pytest.raises(CheckpointError, match=r"checkpoint\.repo=owner/none: not found on http://127\.0\.0\.1"):
        resolve(change(HUB, "repo", "owner/none"), refs)
    with pytest.raises(CheckpointError, match="no such revision"):
        resolve(change(NAMED, "revision", "f" * 40), refs)


def test_step_uploaded_since_the_refs_were_cached_is_found(hub, model, weights, refs):
    resolve(HUB, refs)
    model.revisions["step3000-tokens12B"] = weights[2]
    assert resolve(change(HUB, "step", 3000), refs).revision == "step3000-tokens12B"


def test_gated_repository_says_what_to_do(hub, weights, refs):
    hub.add_model(REPO, {"main": weights[0]}, gated=True)
    with pytest.raises(CheckpointError, match="gated .* accept its terms there and set HF_TOKEN"):
        resolve(NAMED, refs)


def test_repository_without_safetensors_is_refused(hub, refs):
    hub.add_model(REPO, {"main": {"config.json": b"{}", "pytorch_model.bin": b"pickle"}})
    with pytest.raises(CheckpointError, match="no safetensors weights; pickled weights are not loaded unless"):
        resolve(NAMED, refs)


def test_resolved_once_it_resolves_again_with_the_hub_gone(hub, model, tmp_path):
    before = resolve(HUB, RefCache(Study(tmp_path / "study")))
    hub.stop()
    assert resolve(HUB, RefCache(Study(tmp_path / "study"))) == before
    with pytest.raises(HubUnreachable):
        resolve(HUB, RefCache(Study(tmp_path / "another")))


@pytest.mark.parametrize("body", ["", "{", "[]", '{"refs": 1}', '{"refs": [1]}'])
def test_damaged_cache_of_refs_is_fetched_again(hub, model, tmp_path, body):
    before = resolve(HUB, RefCache(Study(tmp_path / "study")))
    for path in (tmp_path / "study" / "refs").iterdir():
        path.write_text(body)
    assert resolve(HUB, RefCache(Study(tmp_path / "study"))) == before


def test_equal_weights_under_two_steps_are_refused_with_both_names(hub, model, weights, refs):
    model.revisions["step3000-tokens12B"] = weights[0]
    pair = [resolve(change(HUB, "step", step), refs) for step in (1000, 3000)]
    with pytest.raises(CheckpointError, match=f"{REPO}@step1000-tokens4B and {REPO}@step3000-.* have equal weights"):
        refuse_equal_weights(pair)
    refuse_equal_weights([pair[0], pair[0]])
    refuse_equal_weights([pair[0], resolve(change(HUB, "step", 2000), refs)])


def test_equal_weights_under_two_names_without_steps_are_refused(hub, weights, refs):
    hub.add_model(REPO, {"main": weights[0], "v1": weights[0]})
    plain = change(change(NAMED, "final_step", None), "pattern", None)
    with pytest.raises(CheckpointError, match="model@main and owner/model@v1"):
        refuse_equal_weights([resolve(change(plain, "revision", name), refs) for name in ("main", "v1")])


def test_main_may_be_the_step_that_the_family_says_it_is(hub, model, refs):
    alias = change(HUB, "final_step", 2000)
    main, last = resolve(change(alias, "step", None), refs), resolve(change(alias, "step", 2000), refs)
    assert main.hashes == last.hashes
    refuse_equal_weights([main, last])
    with pytest.raises(CheckpointError, match="model@main and owner/model@step2000"):
        refuse_equal_weights([resolve(NAMED, refs), last])


def test_downloaded_checkpoint_is_loaded(hub, model, refs, tmp_path):
    found = resolve(HUB, refs)
    folder = locate(found, str(tmp_path))
    loaded, tokenizer = load_model(folder), load_tokenizer(folder)
    check_vocabulary(loaded, tokenizer, folder)
    expected = make_model(seed=0).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())
    assert tokenizer.get_vocab() == make_tokenizer("bpe").get_vocab()
    assert tokenizer.pad_token_id is not None
    hub.stop()
    assert locate(found, str(tmp_path)) == folder  # from the client's own cache


@pytest.fixture
def task(hub):
    hub.add_dataset("owner/nli", {"plain": {"train": parquet(ROWS), "test": parquet([{**ROWS[0], "label": -1}])}})
    return change(NLI, "config", "plain")


def test_split_of_a_data_set_is_read(hub, task):
    split = load_split(task, "train")
    assert [example.fields["premise"] for example in split.examples] == [row["premise"] for row in ROWS]
    streamed = load_split(change(task, "stream_rows", 4), "train")
    assert streamed.examples == split.examples[:4]


def test_streamed_rows_are_kept_for_when_there_is_no_hub(hub, task):
    streamed = change(task, "stream_rows", 4)
    before = load_split(streamed, "train")
    asked = len(hub.requests)
    assert load_split(change(task, "stream_rows", 2), "train").examples == before.examples[:2]
    assert not [request for request in hub.requests[asked:] if "parquet" in request]
    assert len(load_split(change(task, "stream_rows", 5), "train").examples) == 5  # more than were kept
    hub.stop()
    from pretune.checkpoints import hub as client

    client._reached.clear()
    assert load_split(streamed, "train").examples == before.examples
    assert len(load_split(change(task, "stream_rows", 5), "train").examples) == 5
    with pytest.raises(HubUnreachable):
        load_split(change(task, "stream_rows", 6), "train")


def test_rows_of_a_busy_hub_are_asked_for_again(hub, task):
    hub.fail = {"train.parquet": 2, "README.md": 1}
    assert len(load_split(task, "train").examples) == len(ROWS)


def test_size_of_a_data_set_is_known_before_its_download(hub, task):
    files = hub.repositories["datasets", "owner/nli"].revisions["main"]
    expected = sum(len(body) for name, body in files.items() if name.endswith(".parquet"))
    assert bytes_to_download("owner/nli", "plain", revision=None) == expected
    load_split(task, "train")
    assert bytes_to_download("owner/nli", "plain", revision=None) == 0


def test_split_once_read_is_read_again_with_the_hub_gone(hub, task):
    before = load_split(task, "train")
    hub.stop()
    from pretune.checkpoints import hub as client

    client._reached.clear()
    assert load_split(task, "train").examples == before.examples


def test_hidden_labels_of_the_hub_are_refused(hub, task):
    with pytest.raises(DataError, match="all 1 rows of split 'test' have hidden labels; use train"):
        load_split(task, "test", other_splits=("train",))


def test_missing_split_configuration_and_data_set_are_named(hub, task):
    with pytest.raises(DataError, match=r"task=nli: .*validation.*train"):
        load_split(task, "validation")
    with pytest.raises(DataError, match=r"task=nli: .*fancy.*plain"):
        load_split(change(task, "config", "fancy"), "train")
    with pytest.raises(DataError, match=r"task=nli: .*owner/none"):
        load_split(change(task, "repo", "owner/none"), "train")


@pytest.mark.parametrize("what", ["checkpoint", "rows", "stream"])
def test_hub_that_does_not_answer_is_one_clear_message(tmp_path, what):
    ask = {
        "checkpoint": lambda: resolve(HUB, RefCache(Study(tmp_path))),
        "rows": lambda: load_split(NLI, "train"),
        "stream": lambda: load_split(change(NLI, "stream_rows", 3), "train"),
    }[what]
    with clients_of("http://127.0.0.1:9", tmp_path / "cache"), pytest.raises(HubUnreachable) as caught:
        ask()
    message = str(caught.value)
    assert "http://127.0.0.1:9 cannot be reached" in message
    assert ("checkpoint.repo=owner/model" if what == "checkpoint" else "data set owner/nli") in message
    for help_ in ("checkpoint=pico/", "HF_ENDPOINT", "task.source=path"):
        assert help_ in message


def test_clients_do_not_retry_an_address_where_nobody_is(tmp_path):
    """In a process of its own, as the scripts meet it; the clients by themselves go on for half a minute."""
    code = """
from pretune.checkpoints.refs import RefCache
from pretune.errors import HubUnreachable
from pretune.results.store import Study
try:
    RefCache(Study("study")).get("owner/model")
except HubUnreachable as error:
    print("unreachable:", str(error).splitlines()[0])
"""
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("unreachable: checkpoint.repo=owner/model could not be fetched")
    assert "Retrying" not in done.stderr
