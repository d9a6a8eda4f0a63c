from __future__ import annotations

import pytest
import torch

from pretune.config.science import Optimizer
from pretune.data.encoding import Encoded
from pretune.errors import PretuneError
from pretune.training.optimizers import build_optimizer
from pretune.training.steps import EpochSteps, WindowSteps, collate, make_step

PAD = 99
ROWS = [Encoded(ids=tuple(range(10 * n, 10 * n + 3 + n % 4)), context=1 + n % 2) for n in range(11)]


def steps(**changes) -> EpochSteps:
    how = {"batch_size": 4, "epochs": 2, "seed": 0, "pad_id": PAD, "micro_batch": None, **changes}
    return EpochSteps(ROWS, **how)


def row_numbers(step) -> list[int]:
    """Which rows a step holds, by the first token of each."""
    return sorted(int(ids[0]) // 10 for micro in step.micro_batches for ids in micro["input_ids"])


def row_lengths(micro) -> list[int]:
    return (micro["input_ids"] != PAD).sum(1).tolist()


def test_every_epoch_sees_every_row_once_and_its_last_step_holds_the_rest():
    data = steps()
    assert (data.steps_per_epoch, data.total_steps) == (3, 6)
    epochs = [[row_numbers(step) for step in data] for _ in range(2)]
    for epoch in epochs:
        assert [len(step) for step in epoch] == [4, 4, 3]
        assert sorted(sum(epoch, [])) == list(range(11))
    assert epochs[0] != epochs[1]


def test_rows_of_every_step_are_fixed_by_the_seed_whatever_the_micro_batch():
    expected = [row_numbers(step) for step in steps()]
    for micro_batch in (1, 2, 3, 8):
        assert [row_numbers(step) for step in steps(micro_batch=micro_batch)] == expected
    assert [row_numbers(step) for step in steps(seed=1)] != expected


def test_micro_batches_have_their_size_and_group_rows_of_like_length():
    for step in steps(micro_batch=3):
        sizes = [len(micro["input_ids"]) for micro in step.micro_batches]
        assert all(size == 3 for size in sizes[:-1])
        lengths = [n for micro in step.micro_batches for n in row_lengths(micro)]
        assert lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize("start", range(7))
def test_continued_training_sees_the_rows_it_would_have_seen(start):
    whole = steps()
    expected = [row_numbers(step) for _ in range(2) for step in whole][start:]
    rest = steps(start_step=start)
    assert rest.epochs_left == 2 - start // 3
    assert [row_numbers(step) for _ in range(rest.epochs_left) for step in rest] == expected


def test_supervised_positions_are_those_that_predict_the_completion():
    rows = [Encoded(ids=(5, 6, 7, 8), context=2), Encoded(ids=(1, 2), context=1)]
    micro = collate(rows, pad_id=PAD)
    assert micro["input_ids"].tolist() == [[5, 6, 7, 8], [1, 2, PAD, PAD]]
    supervised = list(zip(micro["rows"].tolist(), micro["columns"].tolist(), micro["targets"].tolist(), strict=True))
    assert supervised == [(0, 1, 7), (0, 2, 8), (1, 0, 2)]


def test_first_token_of_a_row_without_prompt_is_not_predicted():
    step = make_step([Encoded(ids=(5, 6, 7), context=0)], pad_id=PAD, micro_batch=1)
    assert step.micro_batches[0]["targets"].tolist() == [6, 7]
    assert (step.tokens, step.positions) == (2, 3)


def test_supervised_tokens_of_a_step_are_counted_over_its_micro_batches():
    for step in steps(micro_batch=2):
        assert step.tokens == sum(len(micro["targets"]) for micro in step.micro_batches)
        assert step.positions == sum(sum(row_lengths(micro)) for micro in step.micro_batches)


def test_rows_without_a_supervised_token_make_an_empty_micro_batch():
    micro = collate([Encoded(ids=(5, 6), context=2)], pad_id=PAD)
    assert micro["targets"].shape == (0,)
    assert micro["targets"].dtype == torch.long


def test_windows_are_wholly_supervised_and_continued_where_they_stopped():
    windows = [list(range(i, i + 5)) for i in range(0, 60, 5)]
    data = list(WindowSteps(iter(windows), batch_size=2, total_steps=6))
    assert sum((step.micro_batches[0]["input_ids"].tolist() for step in data), []) == windows
    first = data[0].micro_batches[0]
    assert first["targets"].tolist() == [1, 2, 3, 4, 6, 7, 8, 9]
    assert first["columns"].tolist() == [0, 1, 2, 3] * 2
    assert (data[0].tokens, data[0].positions) == (8, 10)
    rest = list(WindowSteps(iter(windows), batch_size=2, total_steps=6, start_step=4))
    assert [step.micro_batches[0]["input_ids"].tolist() for step in rest] == [windows[8:10], windows[10:]]


@pytest.mark.parametrize("start", [0, 3])
def test_text_that_runs_out_is_a_clear_error(start):
    data = WindowSteps(iter([[1, 2], [3, 4], [5, 6]]), batch_size=2, total_steps=6, start_step=start)
    with pytest.raises(PretuneError, match="text ends .* 6 steps of 2 windows"):
        list(data)


def test_optimizers_are_built_as_configured_over_trained_parameters_only():
    trained, frozen = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2), requires_grad=False)
    config = Optimizer(lr=0.5, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.1)
    adamw = build_optimizer(config, [trained, frozen])
    (group,) = adamw.param_groups
    assert isinstance(adamw, torch.optim.AdamW)
    assert group["params"] == [trained]
    assert {k: group[k] for k in ("lr", "betas", "eps", "weight_decay", "fused")} == {
        "lr": 0.5, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1, "fused": True,
    }  # fmt: skip
    sgd = build_optimizer(Optimizer(name="sgd", lr=0.5, fused=False), [trained])
    assert isinstance(sgd, torch.optim.SGD)
    assert not sgd.param_groups[0]["fused"]
