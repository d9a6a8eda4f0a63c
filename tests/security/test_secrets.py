"""Secrets of the environment are in nothing that is written or said; overrides that carry one are refused unquoted."""

from __future__ import annotations

import pytest

from pretune.checkpoints.hub import endpoint
from pretune.config.secrets import STRUCK_OUT, check_overrides, is_secret_name, redact
from pretune.errors import UsageError
from support.commands import environment, run
from support.studies import LADDER

PLANTED = {
    "HF_TOKEN": "hf_PlantedPlantedPlanted",
    "WANDB_API_KEY": "planted0123456789012345678901234567planted",
    "OPENAI_API_KEY": "sk-planted-key-1",
    "MY_SECRET": "planted secret value",
    "DB_PASSWORD": "planted-password",
    "HF_ENDPOINT": "http://someone:planted-in-address@127.0.0.1:9",
}
VALUES = ("hf_Planted", "planted0123", "sk-planted", "planted secret", "planted-password", "planted-in-address")


def is_clean(text: str) -> bool:
    return not any(value in text for value in VALUES)


@pytest.mark.parametrize(
    "override",
    ["+HF_TOKEN=planted-x", "logger.api_key=planted-x", "++hydra.job.env_set.WANDB_API_KEY=planted-x",
     "hydra.job.env_set={HF_TOKEN: planted-x}", "checkpoint.repo=https://me:planted-x@hub/a",
     "logger.password=planted-x",
     "study_dir=s3://key:planted-x@bucket/study", "logger.group=hf_PlantedPlantedPlanted",
     "task.repo=http://h/a?token=planted-x"],
)  # fmt: skip
def test_an_override_with_a_secret_is_refused_and_not_quoted(override):
    with pytest.raises(UsageError, match="would be recorded; give it in the environment") as caught:
        check_overrides([override])
    assert "planted" not in str(caught.value).lower()
    assert override.split("=")[0].lstrip("+").split(".")[0] in str(caught.value)


def test_an_override_with_the_value_of_a_secret_is_refused():
    with pytest.raises(UsageError, match="holds a secret"):
        check_overrides(["logger.group=x-planted-password-y"], PLANTED)


@pytest.mark.parametrize(
    "override",
    ["checkpoint.eos_token=<|endoftext|>", "task.max_new_tokens=60", "task.scorer=first_token", "optimizer.lr=1e-3",
     "task.path=/data/keys/token", "checkpoint.repo=owner/key", "task.labels={monkey: a}", "checkpoint.pad_token=null"],
)  # fmt: skip
def test_words_of_the_field_are_no_secrets(override):
    check_overrides([override], {})


def test_names_of_secrets():
    for name in (
        "HF_TOKEN",
        "WANDB_API_KEY",
        "aws_secret_access_key",
        "password",
        "logger.api-key",
        "MY_SECRET",
        "KEY",
    ):
        assert is_secret_name(name), name
    for name in ("tokens", "max_new_tokens", "MONKEY", "keyboard", "eos_token", "path", "TOKENIZERS_PARALLELISM"):
        assert not is_secret_name(name), name


def test_texts_lose_their_secrets():
    text = f"at {PLANTED['HF_ENDPOINT']}/x?api_key=planted0 with {PLANTED['WANDB_API_KEY']} {PLANTED['MY_SECRET']}"
    told = redact(text, PLANTED)
    assert is_clean(told)
    assert told.count(STRUCK_OUT) == 4
    assert redact(told, PLANTED) == told
    assert redact("https://huggingface.co/a@b", {}) == "https://huggingface.co/a@b"


def test_the_address_of_the_hub_is_told_without_its_password(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", PLANTED["HF_ENDPOINT"])
    assert endpoint() == "http://127.0.0.1:9"


def test_a_whole_study_holds_no_secret(tmp_path):
    """Finished and failed cells, W&B's offline files, the report, and all that was said, tracebacks included."""
    study, work = tmp_path / "study", tmp_path / "work"
    work.mkdir()
    env = environment(tmp_path, **PLANTED)
    said = []
    place = (f"study_dir={study}", f"cache_dir={tmp_path / 'cache'}")
    rows = tmp_path / "rows"
    rows.mkdir()
    (rows / "test.jsonl").write_text('{"x": "planted-password"}\n{"x": 1')
    common = (*LADDER, "checkpoint.step=8", "trainer=fp32", "eval.limit=8", "logger.offline=true", *place)
    for words in (
        ("evaluate.py", "task=pico/nli", *common),
        ("evaluate.py", "task=pico/nli", "task.source=path", f"task.path={rows}", *common),
        ("evaluate.py", "checkpoint=hub", "checkpoint.repo=a/b", "task=pico/nli", "debug=true", *place),
        ("evaluate.py", "task=pico/nli", "+HF_TOKEN=planted-password", *common),
        ("report.py", f"study_dir={study}", "logger=none"),
    ):
        result = run(*words, cwd=work, env=env)
        said.append(result)
        assert is_clean(result.text), result.text
    assert [result.status for result in said] == [0, 1, 1, 2, 0], [result.text for result in said]
    files = [path for path in (*study.rglob("*"), *work.rglob("*")) if path.is_file()]
    assert any(path.name == "failure.json" for path in files)
    assert any("wandb" in str(path) for path in files)
    for path in files:
        content = path.read_bytes()
        assert not any(value.encode() in content for value in VALUES), path
