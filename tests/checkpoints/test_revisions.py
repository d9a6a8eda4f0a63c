from __future__ import annotations

import pytest

from pretune.checkpoints.revisions import (
    Ref,
    choose_steps,
    find_named_revision,
    find_revision,
    list_steps,
    parse_revisions,
)
from pretune.config.science import Checkpoint
from pretune.errors import CheckpointError
from support.configs import HUB, LADDER, change, read_option

OLMO = read_option("checkpoint", "olmo1b", Checkpoint)
STAGED = Checkpoint(
    repo="owner/staged", pattern=r"(?P<phase>stage\d)-step(?P<step>\d+)-tokens(?P<tokens>\d+)B", step=1000
)


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
    with pytest.raises(CheckpointError, match=r"none of the 2 branches and tags of owner/model matches .*phase 'main'"):
        find_revision(HUB, refs("main", "v1"))


def test_phases_are_apart():
    names = refs("stage1-step1000-tokens4B", "stage2-step1000-tokens5B", "stage1-step2000-tokens9B")
    assert find_revision(change(STAGED, "phase", "stage1"), names).name == "stage1-step1000-tokens4B"
    assert find_revision(change(STAGED, "phase", "stage2"), names).tokens == 5 * 10**9
    assert list_steps(change(STAGED, "phase", "stage1"), names) == [1000, 2000]
    with pytest.raises(CheckpointError, match="phase 'main'"):
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
    assert list_steps(OLMO, REFS) == [1000, 18000, 738000]
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
