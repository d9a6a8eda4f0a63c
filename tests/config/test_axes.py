"""Pairs, conditions and points from a file: what they span, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from pretune.config.axes import MOST_PROBLEMS, hold_back, quote_axes
from pretune.config.expansion import Point, expand
from pretune.config.kinds import field_names
from pretune.config.running import TrainConfig
from pretune.errors import ConfigError, UsageError
from pretune.execution.session import check_points

PAIRS = "pairs=checkpoint=pico/step64,pico/step1024:optimizer.lr=1e-3,2e-4"
NLI = "task=pico/nli"


@pytest.fixture
def points(loader: Any, master: Any) -> Any:
    """The points that arguments span."""

    def span(*arguments: str, **more: Any) -> list[Point]:
        return list(expand(arguments, loader=loader, master=master, **more))

    return span


def lines(points: list[Point]) -> list[str]:
    return [" ".join(point.overrides) for point in points]


def test_pairs_walk_together_and_multiply_with_other_axes(points: Any) -> None:
    assert lines(points("seed=0,1", PAIRS, NLI)) == [
        f"seed={seed} checkpoint={step} optimizer.lr={lr} task=pico/nli"
        for seed in (0, 1)
        for step, lr in (("pico/step64", "0.001"), ("pico/step1024", "0.0002"))
    ]


def test_a_pair_is_configured_as_if_it_were_typed(points: Any) -> None:
    for paired in points(PAIRS, NLI, "stage.epochs=2"):
        (typed,) = points(*paired.overrides)
        assert OmegaConf.to_container(paired.config, resolve=False) == OmegaConf.to_container(
            typed.config, resolve=False
        )


def test_several_pairs_are_axes_of_their_own(points: Any) -> None:
    assert len(points(PAIRS, "pairs=seed=0,1,2:shot_seed=5,6,7", NLI)) == 6


def test_pairs_from_the_configuration_and_in_quotes(points: Any) -> None:
    lists = '"eval.shots=[0,4],[0]:seed=1,2"'
    assert lines(points(NLI, params={"pairs": lists})) == [
        "eval.shots=[0,4] seed=1 task=pico/nli",
        "eval.shots=[0] seed=2 task=pico/nli",
    ]


@given(st.text(st.characters(codec="ascii", exclude_characters="\n\r\t"), max_size=30))
def test_whatever_is_quoted_is_read_back(text: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (quoted,) = quote_axes([f"only=x{text}"])
    assert OverridesParser.create().parse_override(quoted).value() == f"x{text}"


def test_other_arguments_are_left_alone() -> None:
    arguments = ["seed=1", "-m", "task.fields={a:b}", "pairs='a=1:b=2'", "+only=x"]
    assert quote_axes(arguments) == arguments


def test_values_below_a_swept_choice_are_left_to_the_expansion() -> None:
    below = [
        "checkpoint.recipe.seed=1",
        "checkpoint.recipe.stage.save_steps=[0, 4]",
        "model@checkpoint.recipe.model=custom",
    ]
    held = [f"{key}=choice({value})" for key, _, value in (text.partition("=") for text in below)]
    others = ["-m", "task=pico/nli", "task.train_rows=3", "checkpoint.step=0,4", "+a=1", "seed=1"]
    for swept in ("checkpoint=pico/step64,pico/step256", 'pairs="checkpoint=pico,main:seed=1,2"', "cells=x.csv"):
        assert hold_back([swept, *below])[1:] == held
        assert hold_back([swept, "checkpoint.step=0,4"])[1] == "checkpoint.step=0,4"
    assert hold_back(["checkpoint=a,b", "checkpoint.path="])[1] == "checkpoint.path="
    assert hold_back([*others, "checkpoint=pico", *below]) == [*others, "checkpoint=pico", *below]


def test_a_condition_drops_the_points_that_it_does_not_allow(points: Any) -> None:
    found = lines(points("task=mnli,rte,paws", "format=default,io", "only=format=io:task=mnli,rte"))
    assert [line for line in found if "paws" in line] == ["task=paws format=default"]
    assert len(found) == 5


def test_conditions_add_up_and_compare_values_not_spelling(points: Any) -> None:
    found = lines(
        points(
            NLI, "optimizer.lr=1e-4,1e-3", "seed=0,1", "eval.limit=5,6",
            "only=optimizer.lr=0.0010:seed=0:eval.limit=5", "only=seed=1:eval.limit=6",
        )
    )  # fmt: skip
    assert [line.removeprefix("task=pico/nli optimizer.lr=") for line in found] == [
        "0.0001 seed=0 eval.limit=5",
        "0.0001 seed=0 eval.limit=6",
        "0.0001 seed=1 eval.limit=6",
        "0.001 seed=0 eval.limit=5",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([PAIRS + ",3"], "checkpoint has 2, optimizer.lr has 3"),
        (["pairs=seed=1,2"], "needs two or more parts"),
        ([PAIRS, "optimizer.lr=1"], "optimizer.lr: is given twice"),
        (["checkpoint=pico/step64", PAIRS], "checkpoint: is given twice"),
        (["only=format=io"], "needs two or more parts"),
        (["task=mnli", "only=format=io:task=mnli"], "'format' is not given in this sweep; valid: task"),
        (["optimizer.lr=1", "only=optimizer.lrr=1:task=mnli"], r"given in this sweep; did you mean optimizer.lr\?"),
        (["task=mnli", "format=io", "only=format=io:task=rte"], "no point has task=rte; it takes: mnli"),
        (["seed=1,2", "only=seed=1:seed=2"], "names a key twice"),
    ],
)
def test_a_contradiction_is_refused_with_what_is_wrong(points: Any, arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        points(*arguments)


@pytest.fixture
def csv(tmp_path: Path) -> Any:
    """Write a file of cells; return the argument."""

    def write(text: str) -> str:
        (tmp_path / "cells.csv").write_text(text, encoding="utf-8")
        return f"cells={tmp_path / 'cells.csv'}"

    return write


def test_rows_are_points_and_multiply_with_other_axes(points: Any, csv: Any) -> None:
    file = csv('\ufeffcheckpoint, optimizer.lr,eval.shots\npico/step64,1e-3,"[0, 4]"\n\npico/step1024,5e-4,[0]\n')
    found = points(file, NLI, "seed=0,1")
    assert [point.config.optimizer.lr for point in found] == [1e-3, 1e-3, 5e-4, 5e-4]
    assert [list(point.config.eval.shots) for point in found] == [[0, 4], [0, 4], [0], [0]]
    assert [point.config.checkpoint.step for point in found] == [64, 64, 1024, 1024]
    assert [point.origin.rsplit(", ")[1] for point in found] == ["row 2", "row 2", "row 4", "row 4"]


HEAD = "checkpoint,optimizer.lr,seed\n"


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("", ["has no cell"]),
        (HEAD, ["has no cell"]),
        (HEAD + "pico/step64,1e-3\n", ["row 2: has 2 values for 3 columns"]),
        (HEAD + "pico/stp64,1e-3,0\n", ["row 2, column checkpoint: 'pico/stp64' is not a choice; did you mean"]),
        (HEAD + "pico/step64,${oc.env:HOME},0\n", ["row 2, column optimizer.lr: '${oc.env:HOME}'"]),
        (HEAD + 'pico/step64,"1,2",0\n', ["row 2, column optimizer.lr: '1,2'"]),
        (HEAD + 'pico/step64,"range(0,3)",\n', ["column optimizer.lr: 'range(0,3)'", "column seed: '' is empty"]),
        (HEAD + "pico/step64,1e-3,0\npico/step64,abc,0\n", ["row 3, column optimizer.lr: 'abc' must be a number"]),
        ("checkpoint;seed\npico/step64;0\n", ["the columns are separated by ';'; commas are needed"]),
        ("eval.shots\n4\n", ["row 2, column eval.shots: '4' is a list: write eval.shots=[4]"]),
        (
            HEAD + "pico/step65,fast,0\npico/step64,slow,x\nmain\n",
            [
                "row 2, column checkpoint: 'pico/step65' is not a choice; did you mean pico/step64",
                "row 2, column optimizer.lr: 'fast' must be a number",
                "row 3, column optimizer.lr: 'slow' must be a number",
                "row 3, column seed: 'x' must be a whole number",
                "row 4: has 1 value for 3 columns",
            ],
        ),
        ("sed,optimizer.lr\n1,fast\n", ["'sed': no such key", "row 2, column optimizer.lr: 'fast'"]),
        ("seed,sed,seed\n1,1,1\n", ["'sed': no such key", "'seed' is there twice"]),
        ("hydra.launcher._target_\nos.system\n", ["'hydra.launcher._target_': no such key"]),
        ("_target_\nos.system\n", ["'_target_': no such key"]),
        ("checkpoint.allow_pickle\ntrue\n", ["'checkpoint.allow_pickle': cannot be set by a file"]),
        ("study_dir,logger.project,cells\nx,y,z\n", ["'study_dir': holds", "'logger.project': h", "'cells': h"]),
        ('checkpoint\n"pico', ["cannot be read as a CSV file"]),
    ],
)  # fmt: skip
def test_a_file_is_refused_by_row_and_column(points: Any, csv: Any, text: str, messages: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        points(csv(text), NLI)
    for message in messages:
        assert message in str(caught.value)


def test_of_very_many_problems_of_a_file_some_are_told(points: Any, csv: Any) -> None:
    with pytest.raises(UsageError) as caught:
        points(csv("seed\n" + "x\n" * (MOST_PROBLEMS + 5)), NLI)
    lines = str(caught.value).splitlines()
    assert len(lines) == MOST_PROBLEMS + 2
    assert lines[-1] == "  and 5 more"


def test_a_value_out_of_range_is_named_with_its_row(points: Any, csv: Any) -> None:
    with pytest.raises(ConfigError, match=r"optimizer.lr=-1.0: must be greater than 0 .*cells.csv, row 3"):
        check_points("train", points(csv(HEAD + "pico/step64,1e-3,0\npico/step64,-1,0\n"), NLI))


def test_a_column_and_an_argument_of_one_key_are_refused(points: Any, csv: Any) -> None:
    with pytest.raises(UsageError, match="seed: is given twice"):
        points(csv(HEAD + "pico/step64,1e-3,0\n"), NLI, "seed=1")


def test_a_missing_file_is_named(points: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none.csv: cannot be read as a CSV file: No such file"):
        points(f"cells={tmp_path / 'none.csv'}", NLI)


def test_keys_of_files_are_those_of_the_schema() -> None:
    names = list(field_names(TrainConfig))
    assert {"checkpoint", "checkpoint.recipe.model.hidden_size", "optimizer.lr"} <= set(names)
    assert len(names) == len(set(names))
