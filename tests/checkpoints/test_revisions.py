from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest
import yaml
from hydra.types import RunMode

from pretune.checkpoints.facts import count_tokens, is_annealed
from pretune.checkpoints.revisions import (
    Ref,
    choose_steps,
    find_named_revision,
    find_revision,
    list_steps,
    parse_revisions,
    unify_alias,
)
from pretune.config.expansion import expand
from pretune.config.running import EvaluateConfig
from pretune.config.schema import freeze
from pretune.config.science import Checkpoint
from pretune.errors import CheckpointError
from support.configs import CONF, HUB, LADDER, change, read_option

OLMO = read_option("checkpoint", "olmo1b", Checkpoint)
STAGED = Checkpoint(
    repo="owner/staged", pattern=r"(?P<phase>stage\d)-step(?P<step>\d+)-tokens(?P<tokens>\d+)B", step=1000
)


@cache
def compose_checkpoint(loader, name: str) -> Checkpoint:
    """A checkpoint of a config group with what it extends."""
    config = loader.load_configuration(
        config_name="evaluate", overrides=[f"checkpoint={name}", "task=pico/nli"], run_mode=RunMode.RUN
    )
    return freeze(Checkpoint, config.checkpoint)


def refs(*names: str) -> list[Ref]:
    return [Ref(name=name, commit=f"{index:040x}") for index, name in enumerate(names)]


REFS = refs("main", "step1000-tokens4B", "step738000-tokens3094B", "step18000-tokens75B", "step-1", "step5-tokens1B-x")


def test_names_of_olmo_become_steps_in_order():
    found = parse_revisions(OLMO, REFS)
    assert [(r.name, r.step, r.phase) for r in found] == [
        ("step1000-tokens4B", 1000, "main"),
        ("step18000-tokens75B", 18000, "main"),
        ("step738000-tokens3094B", 738000, "main"),
    ]
    assert found[1].commit == REFS[3].commit


def test_tokens_come_from_the_family_or_else_from_the_name():
    assert parse_revisions(OLMO, REFS)[0].tokens == 1000 * 2048 * 2048
    assert parse_revisions(change(OLMO, "tokens_per_step", None), REFS)[0].tokens == 4 * 10**9
    plain = change(change(OLMO, "tokens_per_step", None), "pattern", r"step(?P<step>\d+)")
    assert parse_revisions(plain, refs("step7"))[0].tokens is None


def test_token_suffix_is_looked_up_and_never_computed():
    assert find_revision(change(OLMO, "step", 18000), refs("step18000-tokens999B")).name == "step18000-tokens999B"


def test_unknown_step_names_the_nearest():
    with pytest.raises(CheckpointError) as caught:
        find_revision(change(OLMO, "step", 20000), [*REFS, *refs("step21000-tokens88B", "step22000-tokens92B")])
    assert str(caught.value) == (
        "checkpoint.step=20000: allenai/OLMo-1B-hf has no such step; nearest: 1000, 18000, 21000, 22000"
    )


def test_repository_without_such_names_says_how_many_it_has():
    with pytest.raises(CheckpointError, match=r"none of the 2 branches and tags of owner/model matches"):
        find_revision(HUB, refs("main", "v1"))


def test_phases_are_apart():
    names = refs("stage1-step1000-tokens4B", "stage2-step1000-tokens5B", "stage1-step2000-tokens9B")
    assert find_revision(change(STAGED, "phase", "stage1"), names).name == "stage1-step1000-tokens4B"
    assert find_revision(change(STAGED, "phase", "stage2"), names).tokens == 5 * 10**9
    assert list_steps(change(STAGED, "phase", "stage1"), names) == [1000, 2000]
    with pytest.raises(CheckpointError, match="checkpoint.phase=main: .* valid: stage1, stage2"):
        find_revision(STAGED, names)


@pytest.mark.parametrize("pattern", ["step(", r"step\d+", r"(?P<number>\d+)"])
def test_pattern_that_finds_no_step_is_refused(pattern):
    with pytest.raises(CheckpointError, match=r"checkpoint\.pattern="):
        parse_revisions(change(HUB, "pattern", pattern), refs("step7"))


@pytest.mark.parametrize("step", ["all", "every:2"])
def test_several_steps_are_no_checkpoint(step):
    with pytest.raises(CheckpointError, match=rf"checkpoint\.step={step}: stands for several steps"):
        find_revision(change(OLMO, "step", step), REFS)


def test_named_revision_is_a_branch_a_tag_or_a_commit():
    by = change(HUB, "step", None)
    assert find_named_revision(by, REFS) == REFS[0]
    assert find_named_revision(change(by, "revision", "step-1"), REFS) == REFS[4]
    assert find_named_revision(change(by, "revision", REFS[2].commit), REFS) == REFS[2]
    assert find_named_revision(change(by, "revision", "f" * 40), REFS) == Ref(name="f" * 40, commit="f" * 40)
    with pytest.raises(CheckpointError, match=r"checkpoint\.revision=mian: .* did you mean main\?"):
        find_named_revision(change(by, "revision", "mian"), REFS)


def test_steps_of_a_ladder_are_those_of_its_recipe():
    assert list_steps(LADDER, ()) == [0, 2, 5]
    assert list_steps(OLMO, REFS) == [1000, 18000, 738000, 738020]  # main is one of them, if it has no branch too
    assert list_steps(change(OLMO, "phase", "other"), REFS) == []
    assert list_steps(change(OLMO, "pattern", None), REFS) == []


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        ("all", [0, 1, 2, 4, 8]),
        ("every:1", [0, 1, 2, 4, 8]),
        ("every:2", [0, 2, 8]),
        ("every:3", [0, 4, 8]),
        ("every:9", [0, 8]),
    ],
)
def test_choice_of_steps_keeps_the_last_one(choice, chosen):
    assert choose_steps([0, 1, 2, 4, 8], choice) == chosen
    assert choose_steps([], choice) == []


FAMILIES = [
    ("olmo1b", "step1000-tokens4B", ("main", 1000, 4_194_304_000, False)),
    ("olmo1b-0724", "step1454000-tokens3048B", ("main", 1_454_000, 1_454_000 * 2**21, None)),
    ("olmo7b", "step556000-tokens2460B", ("main", 556_000, 556_000 * 2160 * 2048, False)),
    ("olmo7b-0424", "step477000-tokens2000B", ("main", 477_000, 2000 * 10**9, None)),
    ("olmo2/1b", "stage1-step10000-tokens21B", ("main", 10_000, 10_000 * 2**21, None)),
    ("olmo2/1b", "stage2-ingredient3-step23852-tokens51B",
     ("stage2-ingredient3", 23_852, (1_907_359 + 23_852) * 2**21, True)),
    ("olmo2/1b-early", "stage1-step37000-tokens78B", ("main", 37_000, 37_000 * 2**21, None)),
    ("olmo2/7b", "step150-tokens1B", ("main", 150, 150 * 2**22, None)),
    ("olmo2/7b", "stage2-ingredient1-step1000-tokens5B", ("stage2-ingredient1", 1000, 929_646 * 2**22, False)),
    ("olmo2/13b", "stage2-ingredient4-step35773-tokens300B",
     ("stage2-ingredient4", 35_773, (596_057 + 35_773) * 2**23, None)),
    ("olmo2/32b", "stage1-step721901-tokens6056B", ("main", 721_901, 721_901 * 2**23, None)),
    ("olmo3/7b", "stage1-step1413814", ("main", 1_413_814, 1_413_814 * 2**22, None)),
    ("olmo3/7b", "stage3-step11921", ("stage3", 11_921, (1_413_814 + 11_921) * 2**22 + 47_684 * 2**21, None)),
    ("olmo3/32b", "stage2-ingredient1-step10", ("stage2-ingredient1", 10, None, None)),
    ("amber/7b", "ckpt_000", ("main", 0, 3_497_583_333, False)),
    ("amber/7b", "ckpt_358", ("main", 358, 359 * 3_497_583_333, False)),
    ("pythia/14m", "step0", ("main", 0, 0, False)),
    ("pythia/6.9b-deduped", "step143000", ("main", 143_000, 143_000 * 2**21, True)),
    ("smollm2/135m", "step-240000", ("main", 240_000, 240_000 * 2**20, None)),
    ("smollm2/360m", "step-160000", ("main", 160_000, 160_000 * 3 * 2**19, None)),
    ("smollm2/1.7b", "step-125000", ("main", 125_000, 125_000 * 2**21, None)),
    ("smollm3/3b", "stage1-step-40000", ("main", 40_000, 40_000 * 2_359_296, None)),
    ("smollm3/3b", "stage3-step-4720000", ("stage3", 4_720_000, 4_720_000 * 2_359_296, True)),
    ("smollm3/3b", "lc-4k-to-32k-step-4000", ("lc-4k-to-32k", 4000, None, None)),
    ("smollm3/3b", "it-mid-training", None),
    ("apertus/8b", "step50000-tokens210B", ("main", 50_000, 50_000 * 2**22, None)),
    ("apertus/8b", "step2627139-tokens15T", ("main", 2_627_139, 1_678_000 * 2**22 + 949_139 * 2**23, None)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "revision", "expected"), FAMILIES)
def test_revisions_of_every_family(name, revision, expected, loader):
    family = compose_checkpoint(loader, name)
    found = [
        (r.phase, r.step, r.tokens, is_annealed(family, r.phase, r.step))
        for r in parse_revisions(family, refs("main", revision))
    ]
    assert found == ([] if expected is None else [expected])


def test_every_family_of_the_hub_is_tried_here_and_says_where_its_facts_come_from():
    tried = {name for name, _, _ in FAMILIES}
    described = 0
    for path in sorted((CONF / "checkpoint").rglob("*.yaml")):
        text, name = path.read_text(), str(path.relative_to(CONF / "checkpoint").with_suffix(""))
        values = yaml.safe_load(text)
        if "pattern" in values:
            described += 1
            assert name in tried
            assert "Source: " in text
            assert values["context_length"]
    assert described == 15


def test_apertus_counts_the_larger_batch_from_its_step_on(loader):
    family = compose_checkpoint(loader, "apertus/8b")
    tokens = [count_tokens(family, "main", step) for step in (1_677_999, 1_678_000, 1_678_001)]
    assert [b - a for a, b in pairwise(tokens)] == [2**22, 2**23]
    assert tokens[1] == 1_678_000 * 2**22
    assert 14.99e12 < count_tokens(family, "main", 2_627_139) < 15.01e12


def test_seed_of_a_polypythia_names_its_repository(loader):
    master = loader.load_configuration(config_name="evaluate", overrides=[], run_mode=RunMode.MULTIRUN)
    arguments = ["checkpoint=polypythia/160m", "checkpoint.pretrain_seed=2,9", "checkpoint.step=512", "task=pico/nli"]
    found = [freeze(EvaluateConfig, point.config) for point in expand(arguments, loader=loader, master=master)]
    assert [config.checkpoint.repo for config in found] == [f"EleutherAI/pythia-160m-seed{n}" for n in (2, 9)]
    assert {config.checkpoint.family for config in found} == {"pythia-160m"}


def test_named_digits_of_other_scripts_are_no_steps():
    assert parse_revisions(OLMO, refs("step١٢-tokens4B")) == []


def test_two_names_of_one_step_are_refused_unless_they_are_one_commit():
    pair = refs("stage1-step5-tokens1B", "stage1-step05-tokens1B")
    wanted = change(change(STAGED, "phase", "stage1"), "step", 5)
    with pytest.raises(CheckpointError, match="stage1-step05-.* and stage1-step5-.* both have this step"):
        find_revision(wanted, pair)
    same = [pair[0], Ref(name=pair[1].name, commit=pair[0].commit)]
    assert find_revision(wanted, same).commit == pair[0].commit


def test_pattern_whose_step_is_no_number_is_refused():
    with pytest.raises(CheckpointError, match=r"finds no number as step in 'step-x'"):
        parse_revisions(change(HUB, "pattern", r"step-(?P<step>\w*)"), refs("step-x"))


def test_declared_final_step_becomes_main():
    final = change(OLMO, "step", 738_020)
    assert unify_alias(final) == change(change(OLMO, "step", None), "revision", "main")
    for other in (change(OLMO, "step", 738_000), change(final, "final_step", None), change(final, "phase", "stage2")):
        assert unify_alias(other) is other
