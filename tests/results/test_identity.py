from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretune.config.science import Checkpoint, Phase, Template
from pretune.results.identity import (
    base_weights,
    canonical_json,
    describe_checkpoint,
    describe_recipe,
    digest,
    evaluate_request,
    make_run_id,
    slug,
    train_request,
    tuned_weights,
)
from support.configs import CONFIG, FORMAT, HUB, LADDER, NLI, RECIPE, change, leaves

BY_STEP, BY_REVISION = CONFIG, change(change(CONFIG, "checkpoint.step", None), "checkpoint.revision", "v1")
OF_LADDER = change(CONFIG, "checkpoint", LADDER)
FROM_FILES = change(change(CONFIG, "task.source", "path"), "task.path", "/somewhere")

# Where each field of a train configuration stands. A new field must be entered on one of the two sides.
SCIENCE_OF_TRAINING = {
    "checkpoint.annealed",
    "checkpoint.annealed_from",
    "checkpoint.batch_changes",
    "checkpoint.family",
    "checkpoint.final_phase",
    "checkpoint.final_step",
    "checkpoint.phase",
    "checkpoint.pretrain_seed",
    "checkpoint.repo",
    "checkpoint.step",
    "checkpoint.tokens_before",
    "checkpoint.tokens_per_step",
    "format.name",
    "format.templates.nli.after",
    "format.templates.nli.body",
    "format.templates.nli.completion",
    "format.templates.nli.prompt",
    "format.templates.nli.stop",
    "format.templates.nli.turns",
    "optimizer.betas",
    "optimizer.eps",
    "optimizer.lr",
    "optimizer.name",
    "optimizer.weight_decay",
    "regularizer.name",
    "regularizer.strength",
    "seed",
    "stage.batch_size",
    "stage.clip_norm",
    "stage.epochs",
    "stage.max_length",
    "stage.name",
    "stage.schedule",
    "stage.warmup_ratio",
    "stage.warmup_steps",
    "task.answer",
    "task.config",
    "task.data_dir",
    "task.family",
    "task.fields",
    "task.label",
    "task.labels",
    "task.letters",
    "task.name",
    "task.reader",
    "task.repo",
    "task.revision",
    "task.sample_rows",
    "task.source",
    "task.stream_rows",
    "task.train_rows",
    "task.train_split",
    "task.validation_rows",
    "task.validation_split",
    "trainer.precision",
}
NO_SCIENCE_OF_TRAINING = {
    "cache.evict",
    "cache_dir",
    "cells",
    "checkpoint.allow_pickle",
    "checkpoint.context_length",
    "checkpoint.eos_token",
    "checkpoint.init_std",  # part of a probe's identity that uses it
    "checkpoint.pad_token",
    "checkpoint.path",
    "checkpoint.pattern",
    "checkpoint.phases",
    "checkpoint.pretraining_text",
    "checkpoint.recipe",
    "checkpoint.revision",
    "checkpoint.shape",
    "checkpoint.source",
    "chunk",
    "debug",
    "eval.decode",
    "eval.formats",
    "eval.keep_prompts",
    "eval.limit",
    "eval.relations",
    "eval.shots",
    "fail_fast",
    "format.separator",
    "keep_model",
    "logger.entity",
    "logger.group",
    "logger.name",
    "logger.offline",
    "logger.project",
    "mode",
    "only",
    "pairs",
    "plan.cells",
    "plan.device",
    "plan.file",
    "plan.follow",
    "optimizer.fused",
    "shot_sampling",
    "shot_seed",
    "stage.save_steps",
    "stage.sequence_length",
    "study_dir",
    "task.cross_task",
    "task.eval_split",
    "task.in_domain",
    "task.label_names",
    "task.labelled_splits",
    "task.max_new_tokens",
    "task.metric",
    "task.out_of_domain",
    "task.path",
    "task.scorer",
    "regularizer.text",  # the rows it names are: see below
    "search.lr",
    "search.name",
    "search.seed",
    "search.startup",
    "search.trials",
    "select",
    "trainer.accelerator",
    "trainer.activation_checkpointing",
    "trainer.batching",
    "trainer.compile",
    "trainer.devices",
    "trainer.micro_batch",
    "trainer.num_nodes",
    "trainer.save_gigabytes",
    "trainer.save_seconds",
    "trainer.strategy",
    "trainer.threads",
}

SCIENCE_UNDER_A_CONDITION = {
    "stage.decay_ratio": {"stage.schedule": "wsd"},
    "regularizer.windows": {"regularizer.name": "ewc"},
    "regularizer.window_length": {"regularizer.name": "replay"},
    "regularizer.blocks": {"regularizer.name": "freeze"},
    "regularizer.rank": {"regularizer.name": "lora"},
    "regularizer.alpha": {"regularizer.name": "qlora"},
    "regularizer.dropout": {"regularizer.name": "lora"},
    "regularizer.targets": {"regularizer.name": "lora"},
    "trainer.rounding": {"trainer.precision": "bf16-true"},
}
"""Fields that only a choice elsewhere makes effective; without it they leave the key alone."""


def another(key: str, value: Any) -> Any:
    """A value that differs from ``value`` and suits its field."""
    special = {"task.source": "pico", "task.family": "paraphrase", "checkpoint.source": "path"}
    if key in special:
        return special[key]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, tuple):
        return (*value, value[0]) if value else ("x",)
    if isinstance(value, dict):
        return {**value, "x": "x"}
    return "x"


def key_of(config, **content) -> str:
    return digest(train_request(config, **content))


def evaluation_key(config, *, task=NLI, format_=FORMAT, shots=0, split="evaluation", weights=None, **content) -> str:
    weights = weights or base_weights(config.checkpoint)
    return digest(
        evaluate_request(weights, task=task, split=split, format_=format_, shots=shots, config=config, **content)
    )


def test_every_field_of_a_train_configuration_is_classified():
    sides = [SCIENCE_OF_TRAINING, NO_SCIENCE_OF_TRAINING, set(SCIENCE_UNDER_A_CONDITION)]
    assert sum(map(len, sides)) == len(set.union(*sides))
    assert {key for key, _ in leaves(CONFIG)} == set.union(*sides)


@pytest.mark.parametrize("key", sorted(SCIENCE_OF_TRAINING))
def test_scientific_field_changes_the_train_key(key):
    changed = change(CONFIG, key, another(key, dict(leaves(CONFIG))[key]))
    assert key_of(changed) != key_of(CONFIG)


@pytest.mark.parametrize("key", sorted(NO_SCIENCE_OF_TRAINING - {"checkpoint.source", "checkpoint.revision"}))
def test_other_field_leaves_the_train_key_alone(key):
    changed = change(CONFIG, key, another(key, dict(leaves(CONFIG))[key]))
    assert key_of(changed) == key_of(CONFIG)


@pytest.mark.parametrize("key", sorted(SCIENCE_UNDER_A_CONDITION))
def test_field_that_only_a_choice_makes_effective_changes_the_key_under_it_alone(key):
    chosen = CONFIG
    for where, value in SCIENCE_UNDER_A_CONDITION[key].items():
        chosen = change(chosen, where, value)
    for config, effective in ((chosen, True), (CONFIG, False)):
        changed = change(config, key, another(key, dict(leaves(config))[key]))
        assert (key_of(changed) != key_of(config)) is effective


def test_pre_training_text_of_a_regularizer_is_part_of_the_key():
    replay = change(CONFIG, "regularizer.name", "replay")
    one, two = NLI, change(NLI, "repo", "another/text")
    assert len({key_of(replay), key_of(replay, text=one), key_of(replay, text=two)}) == 3
    assert key_of(replay, text=one, text_content="a") == key_of(replay, text=one), "only local files have a content"


def test_no_evaluation_setting_is_found_in_a_train_request():
    text = canonical_json(train_request(CONFIG))
    for word in ("eval", "shot", "limit", "metric", "scorer", "domain", "max_new_tokens", "study", "cache"):
        assert word not in text


def test_revision_names_weights_where_no_step_does():
    assert key_of(BY_REVISION) != key_of(BY_STEP)
    assert key_of(change(BY_REVISION, "checkpoint.revision", "v2")) != key_of(BY_REVISION)
    main = change(BY_REVISION, "checkpoint.revision", "main")
    assert key_of(change(BY_REVISION, "checkpoint.revision", None)) == key_of(main)


@pytest.mark.parametrize("key", [key for key, _ in leaves(RECIPE)])
def test_a_ladder_is_identified_by_all_of_its_recipe_that_shapes_weights(key):
    outside = {"stage.decay_ratio", "optimizer.fused", "stage.epochs", "stage.max_length", "stage.name", "model.name"}
    outside |= {key for key, _ in leaves(RECIPE) if key.startswith("corpus.")}  # the miniature reads no corpus
    changed = change(RECIPE, key, another(key, dict(leaves(RECIPE))[key]))
    assert (describe_recipe(changed) == describe_recipe(RECIPE)) is (key in outside)
    described = describe_checkpoint(dataclasses.replace(LADDER, recipe=changed))
    assert (described == describe_checkpoint(LADDER)) is (key in outside)


@pytest.mark.parametrize("key", [key for key, _ in leaves(RECIPE) if key.startswith("corpus.")])
def test_a_ladder_on_real_text_is_identified_by_its_text_and_tokenizer(key):
    real = change(RECIPE, "text", "folder")
    changed = change(real, key, another(key, dict(leaves(real))[key]))
    same = describe_recipe(changed, content="c") == describe_recipe(real, content="c")
    assert same is (key == "corpus.path")
    assert describe_recipe(real, content="c") != describe_recipe(real, content="d")


def test_keys_of_the_schedule_count_where_they_are_used():
    wsd = change(CONFIG, "stage.schedule", "wsd")
    assert key_of(change(wsd, "stage.decay_ratio", 0.5)) != key_of(wsd)
    fixed = change(CONFIG, "stage.warmup_steps", 3)
    assert key_of(change(fixed, "stage.warmup_ratio", 0.5)) == key_of(fixed)


def test_steps_of_one_ladder_differ():
    assert describe_checkpoint(change(LADDER, "step", 5)) != describe_checkpoint(LADDER)
    assert key_of(OF_LADDER) != key_of(CONFIG)


def test_local_weights_and_rows_are_identified_by_content_not_by_place():
    here, there = (Checkpoint(source="path", family="path", path=place) for place in ("/here", "/there"))
    assert describe_checkpoint(here, content="c") == describe_checkpoint(there, content="c")
    assert describe_checkpoint(here, content="c") != describe_checkpoint(here, content="d")
    elsewhere = change(FROM_FILES, "task.path", "/elsewhere")
    assert key_of(FROM_FILES, task_content="c") == key_of(elsewhere, task_content="c")
    assert key_of(FROM_FILES, task_content="c") != key_of(FROM_FILES, task_content="d")
    assert key_of(change(FROM_FILES, "task.repo", "other/set"), task_content="c") == key_of(
        FROM_FILES, task_content="c"
    )


def test_configuration_of_a_local_data_set_chooses_rows_and_so_changes_the_key():
    one, two = (change(FROM_FILES, "task.config", name) for name in ("one", "two"))
    assert key_of(one, task_content="c") != key_of(two, task_content="c")


def test_adding_formats_or_shots_never_changes_the_train_key():
    wider = change(change(CONFIG, "eval.formats", ("default", "io")), "eval.shots", (0, 4))
    wider = change(wider, "format.templates", {**FORMAT.templates, "summary": Template(prompt="{document}")})
    assert key_of(wider) == key_of(CONFIG)


# (field of the configuration, or of the evaluated task) → whether it changes an evaluation with so many shots
@pytest.mark.parametrize(
    ("key", "zero_shot", "few_shot", "validation"),
    [
        ("eval.limit", True, True, True),
        ("eval.keep_prompts", False, False, False),
        ("eval.decode", True, True, True),
        ("shot_seed", True, True, True),  # with a limit it also draws the sample
        ("shot_sampling", False, True, False),
        ("trainer.micro_batch", False, False, False),
        ("study_dir", False, False, False),
        ("task.eval_split", True, True, False),
        ("task.train_split", False, True, True),
        ("task.validation_split", False, True, True),
        ("task.validation_rows", False, True, True),
        ("task.stream_rows", True, True, True),
        ("task.train_rows", False, False, False),
        ("task.max_new_tokens", True, True, True),
        ("task.labels", True, True, True),
        ("task.metric", True, True, True),
        ("task.cross_task", False, False, False),
        ("format.templates.nli.prompt", True, True, True),
        ("format.separator", False, True, False),
    ],
)
def test_what_changes_an_evaluation(key, zero_shot, few_shot, validation):
    changed = change(CONFIG, key, another(key, dict(leaves(CONFIG))[key]))

    def differs(**how):
        before = evaluation_key(CONFIG, task=CONFIG.task, format_=CONFIG.format, **how)
        return evaluation_key(changed, task=changed.task, format_=changed.format, **how) != before

    assert differs() is zero_shot
    assert differs(shots=4) is few_shot
    assert differs(split="validation") is validation


def test_shot_seed_is_no_part_of_an_evaluation_that_draws_nothing():
    whole = change(CONFIG, "eval.limit", None)
    assert evaluation_key(change(whole, "shot_seed", 7)) == evaluation_key(whole)
    assert evaluation_key(change(whole, "shot_seed", 7), shots=2) != evaluation_key(whole, shots=2)


def test_shots_splits_and_weights_make_different_evaluations():
    tuned = tuned_weights(key_of(CONFIG))
    keys = [
        evaluation_key(CONFIG),
        evaluation_key(CONFIG, shots=4),
        evaluation_key(CONFIG, split="validation"),
        evaluation_key(CONFIG, weights=tuned),
        evaluation_key(CONFIG, weights=tuned_weights(key_of(change(CONFIG, "seed", 1)))),
    ]
    assert len(set(keys)) == len(keys)


def test_base_weights_are_the_same_for_every_training():
    other = change(change(CONFIG, "optimizer.lr", 1.0), "task.train_rows", 7)
    assert base_weights(other.checkpoint) == base_weights(CONFIG.checkpoint)
    assert evaluation_key(other) == evaluation_key(CONFIG)


def test_golden_keys():
    # These change only on purpose: every finished cell of every study is found again by them.
    assert key_of(CONFIG) == "56163f006f49e96b0467dca390aa48f192eaca8260e9f68c2520d8affd616d9f"
    assert evaluation_key(CONFIG, shots=4) == "4c8606ca335aa1af8e35c8f2ded56e97f69af5dc032684507b39531ab83e58ec"
    assert digest(describe_checkpoint(LADDER)) == "9c86bda94bae26ade5191781e19c71e91969e16c176774f415eb93e331301d90"


def test_canonical_json_is_one_text_for_equal_data():
    assert canonical_json({"b": [1, 2.5, None], "a": "é"}) == '{"a":"é","b":[1,2.5,null]}'
    with pytest.raises(ValueError):
        canonical_json({"a": float("nan")})


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(PLAIN)
def test_canonical_json_survives_a_round_trip(value):
    try:
        again = json.loads(canonical_json(value))
    except UnicodeEncodeError:
        return
    assert canonical_json(again) == canonical_json(value)


@given(st.dictionaries(st.text(), PLAIN))
def test_canonical_json_does_not_see_the_order_of_keys(data):
    assert canonical_json(dict(reversed(data.items()))) == canonical_json(data)


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b\\c:d", "..", ".", "", "-rf", "名前", "x" * 500, "a\n\0b"])
def test_run_ids_are_safe_folder_names(name):
    run_id = make_run_id("train", name, "0123456789abcdef")
    assert re.fullmatch(r"train-[A-Za-z0-9_+][A-Za-z0-9._+-]*-0123456789ab", run_id)
    assert len(run_id) < 128


@given(st.text())
def test_slugs_never_leave_their_folder(text):
    assert re.fullmatch(r"[A-Za-z0-9_+]([A-Za-z0-9._+-]*[A-Za-z0-9_+])?", slug(text))
    assert len(slug(text)) <= 96


def test_hub_checkpoint_is_named_by_phase_and_step():
    described = describe_checkpoint(HUB)
    assert {key: described[key] for key in ("source", "repo", "phase", "step", "revision")} == {
        "source": "hub",
        "repo": "owner/model",
        "phase": "main",
        "step": 1000,
        "revision": None,
    }


def test_main_under_another_family_is_another_cell():
    """A finished cell keeps its family, step and tokens, so they must not be those of another description."""
    main = change(HUB, "step", None)
    assert describe_checkpoint(main) != describe_checkpoint(change(main, "family", "hub"))


def test_training_rows_behind_a_generation_baseline_are_part_of_its_evaluation():
    summary = change(change(NLI, "answer", "generation"), "metric", "rouge_l")
    other = change(summary, "train_split", "train_2")
    assert evaluation_key(CONFIG, task=summary) != evaluation_key(CONFIG, task=other)


def test_facts_of_phases_count_where_a_phase_is_asked_for():
    facts = {"stage2": Phase(tokens_per_step=8)}
    for checkpoint, counts in ((HUB, False), (change(HUB, "phase", "stage2"), True)):
        assert (describe_checkpoint(change(checkpoint, "phases", facts)) != describe_checkpoint(checkpoint)) is counts


def test_free_decoding_is_part_of_the_identity_of_classification_alone():
    decoding = change(CONFIG, "eval.decode", True)
    choice = dataclasses.replace(NLI, answer="choice")
    assert evaluation_key(decoding, task=choice) == evaluation_key(CONFIG, task=choice)
