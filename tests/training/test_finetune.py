from __future__ import annotations

import json
import math

import pytest
import torch

from pretune.data.encoding import Encoded
from pretune.errors import TrainingDiverged
from pretune.training import module as module_file
from pretune.training.finetune import encode_rows
from pretune.training.module import CausalLanguageModeling
from pretune.training.schedules import factor_at
from pretune.training.steps import make_step
from support.models import make_model
from support.training import (
    equal_weights,
    make_config,
    make_examples,
    make_padded_tokenizer,
    train,
    without_times,
)

ONE_STEP = {"stage__epochs": 1, "stage__warmup_ratio": 0.0, "stage__schedule": "constant", "optimizer__name": "sgd"}


def plain_loss(model, rows: list[Encoded]) -> tuple[float, int]:
    """Summed loss in nats and number of supervised tokens, row by row from full logits."""
    total, count = 0.0, 0
    for row in rows:
        with torch.no_grad():
            logs = model(torch.tensor([row.ids])).logits[0].double().log_softmax(-1)
        for position in range(row.context, len(row.ids)):
            total -= logs[position - 1, row.ids[position]].item()
            count += 1
    return total, count


def encoded(config, count: int, start: int = 0) -> list[Encoded]:
    return encode_rows(make_examples(count, start), config, make_padded_tokenizer(), longest=128)


@pytest.fixture
def watched(monkeypatch):
    """The optimizer of the training that follows, and the gradient norms with which it takes its steps."""
    seen: dict = {"norms": []}
    real = module_file.build_optimizer

    def build(config, parameters):
        optimizer = real(config, parameters)

        def before_step(optimizer, *_):
            grads = [p.grad for group in optimizer.param_groups for p in group["params"]]
            seen["norms"].append(float(torch.linalg.vector_norm(torch.stack([g.norm() for g in grads]))))
            seen["dtypes"] = {p.dtype for group in optimizer.param_groups for p in group["params"]}

        optimizer.register_step_pre_hook(before_step)
        seen["optimizer"] = optimizer
        return optimizer

    monkeypatch.setattr(module_file, "build_optimizer", build)
    return seen


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_optimizer_is_fused_adamw_and_the_gradient_norm_is_clipped(tmp_path, watched, precision):
    config = make_config(trainer__precision=precision, stage__clip_norm=0.05)
    model, outcome = train(config, tmp_path)
    assert isinstance(watched["optimizer"], torch.optim.AdamW)
    assert all(group["fused"] is True for group in watched["optimizer"].param_groups)
    before = [record["gradient_norm"] for record in outcome.history]
    assert len(watched["norms"]) == len(before) == outcome.total_steps == 6
    assert all(norm > 0.05 for norm in before)
    assert watched["norms"] == pytest.approx([0.05] * 6, rel=1e-3)
    # bf16-mixed: fp32 master weights, gradients and moments
    assert watched["dtypes"] == {torch.float32}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    moments = [state["exp_avg"].dtype for state in watched["optimizer"].state.values()]
    assert set(moments) == {torch.float32}


def test_clipping_can_be_switched_off(tmp_path, watched):
    _, outcome = train(make_config(stage__clip_norm=0.0, stage__epochs=1), tmp_path)
    assert watched["norms"] == pytest.approx([record["gradient_norm"] for record in outcome.history], rel=1e-5)


def test_bf16_computes_in_bf16(tmp_path):
    losses = {}
    for precision in ("bf16-mixed", "32-true"):
        _, outcome = train(make_config(trainer__precision=precision, stage__epochs=1), tmp_path / precision)
        losses[precision] = outcome.history[0]["loss"]
    assert losses["bf16-mixed"] != losses["32-true"]
    assert losses["bf16-mixed"] == pytest.approx(losses["32-true"], rel=0.05)


def gradient_of_one_step(tmp_path, micro_batch: int | None, *, rows: int = 8):
    """Gradient of one optimizer step, from a plain update so long that rounding the weights does not matter."""
    lr = 1e6
    config = make_config(**ONE_STEP, optimizer__lr=lr, stage__clip_norm=0.0, trainer__micro_batch=micro_batch)
    before = {name: value.clone() for name, value in make_model(context=128).state_dict().items()}
    work = tmp_path / f"{micro_batch}"
    model, outcome = train(config, work, rows=rows, model=make_model(context=128))
    return {name: (before[name] - value).double() / lr for name, value in model.state_dict().items()}, outcome.history


def test_accumulated_micro_batches_have_the_gradient_of_the_whole_batch(tmp_path):
    whole, history = gradient_of_one_step(tmp_path, 8)
    for micro_batch in (1, 2, 3, None):
        parts, other = gradient_of_one_step(tmp_path, micro_batch)
        for name, gradient in whole.items():
            assert (parts[name] - gradient).norm() <= 1e-6 * gradient.norm() + 1e-12, name
        assert other[0]["loss"] == pytest.approx(history[0]["loss"], rel=1e-6)
        assert other[0]["gradient_norm"] == pytest.approx(history[0]["gradient_norm"], rel=1e-6)


def test_loss_is_a_mean_over_the_supervised_tokens_of_the_whole_step(tmp_path):
    config = make_config(**ONE_STEP, trainer__micro_batch=2)
    rows = encoded(config, 8)
    lengths = [len(row.completion) for row in rows]
    assert len(set(lengths)) > 1, "completions of unequal length are needed to tell a mean from a mean of means"
    total, count = plain_loss(make_model(context=128), rows)
    _, outcome = train(config, tmp_path, rows=8)
    assert outcome.history[0]["loss"] == pytest.approx(total / count, rel=1e-5)
    assert outcome.history[0]["tokens"] == sum(len(row.ids) for row in rows)


def make_module(model, config) -> CausalLanguageModeling:
    return CausalLanguageModeling(model, stage=config.stage, optimizer=config.optimizer, total_steps=1)


def test_prompt_tokens_get_no_loss():
    """Moving the boundary takes exactly the moved tokens' losses away; the prompt's own never count."""
    config, model = make_config(), make_model(context=128)
    module = make_module(model, config)
    (row,) = encoded(config, 1)
    shorter = Encoded(ids=row.ids, context=row.context + 1)

    def loss(item):
        (micro,) = make_step([item], pad_id=0, micro_batch=1).micro_batches
        return float(module.sum_loss(micro).detach())

    with torch.no_grad():
        logs = model(torch.tensor([row.ids])).logits[0].log_softmax(-1)
    assert loss(row) - loss(shorter) == pytest.approx(-logs[row.context - 1, row.ids[row.context]].item(), rel=1e-4)
    assert loss(row) == pytest.approx(plain_loss(model, [row])[0], rel=1e-5)
    assert loss(Encoded(ids=row.ids, context=len(row.ids))) == 0.0


def test_padding_changes_no_loss():
    config, model = make_config(), make_model(context=128)
    module, rows = make_module(model, config), encoded(config, 7)
    assert len({len(row.ids) for row in rows}) > 1
    (together,) = make_step(rows, pad_id=3, micro_batch=7).micro_batches
    apart = [make_step([row], pad_id=3, micro_batch=1).micro_batches[0] for row in rows]
    with torch.no_grad():
        expected = sum(float(module.sum_loss(micro)) for micro in apart)
        assert float(module.sum_loss(together)) == pytest.approx(expected, rel=1e-5)


def test_history_tells_every_step(tmp_path):
    config = make_config(stage__warmup_ratio=0.3)
    _, outcome = train(config, tmp_path)  # 20 rows: steps of 8, 8 and 4 rows, two epochs
    assert [record["step"] for record in outcome.history] == [1, 2, 3, 4, 5, 6]
    expected = [config.optimizer.lr * factor_at(config.stage, step, 6) for step in range(6)]
    assert [record["lr"] for record in outcome.history] == pytest.approx(expected)
    tokens = [record["tokens"] for record in outcome.history]
    assert sum(tokens[:3]) == sum(tokens[3:]) == sum(len(row.ids) for row in encoded(config, 20))
    assert tokens[2] < min(tokens[:2])
    assert (outcome.rows, outcome.total_steps, outcome.resumed_at, outcome.threads) == (20, 6, 0, 1)
    assert outcome.tokens_per_second > 0
    assert outcome.history[-1]["loss"] < outcome.history[0]["loss"]


def test_validation_loss_is_that_of_the_model_at_the_end_of_the_epoch(tmp_path):
    config = make_config()
    model, outcome = train(config, tmp_path)
    assert len(outcome.validation_losses) == 2
    total, count = plain_loss(model, encoded(config, 6, start=30))
    assert outcome.validation_losses[-1] == pytest.approx(total / count, rel=1e-5)


def test_validation_loss_weighs_every_token_alike_whatever_the_batches():
    model, config = make_model(context=128), make_config()
    module, rows = make_module(model, config), encoded(config, 9)
    for start, size in ((0, 1), (1, 6), (7, 2)):
        batch = make_step(rows[start : start + size], pad_id=0, micro_batch=2)
        with torch.no_grad():
            module.validation_step(batch, 0)
    module.on_validation_epoch_end()
    total, count = plain_loss(model, rows)
    assert module.validation_losses == [pytest.approx(total / count, rel=1e-5)]


def test_training_leaves_the_model_ready_for_evaluation(tmp_path):
    model, _ = train(make_config(stage__epochs=1), tmp_path)
    assert not model.training


def test_same_seed_repeats_to_the_last_bit_and_another_differs(tmp_path):
    runs = {name: train(make_config(seed=seed), tmp_path / name) for name, seed in (("a", 0), ("b", 0), ("c", 1))}
    (model, outcome), (again, repeated), (other, different) = runs.values()
    assert equal_weights(model, again)
    assert without_times(outcome.history) == without_times(repeated.history)
    assert outcome.validation_losses == repeated.validation_losses
    assert not equal_weights(model, other)
    assert without_times(outcome.history) != without_times(different.history)


def test_cut_rows_are_counted(tmp_path):
    lengths = sorted(len(row.ids) for row in encoded(make_config(), 20))
    config = make_config(stage__epochs=1, stage__max_length=lengths[10])
    rows = encoded(config, 20)
    assert 0 < sum(row.cut > 0 for row in rows) < 20
    _, outcome = train(config, tmp_path)
    assert outcome.truncated_rows == sum(row.cut > 0 for row in rows)


def test_loss_that_explodes_stops_the_training(tmp_path):
    """Finite still, but far above that of a uniform guess."""
    config = make_config(**{**ONE_STEP, "stage__epochs": 6}, optimizer__lr=300.0, stage__clip_norm=0.0)
    with pytest.raises(TrainingDiverged, match=r"loss \d.*exploded: above 60"):
        train(config, tmp_path)


@pytest.mark.parametrize("where", ["weights", "rate"])
def test_loss_that_is_no_number_stops_the_training(tmp_path, where):
    model = make_model(context=128)
    if where == "weights":
        with torch.no_grad():
            next(model.parameters()).fill_(math.nan)
        config = make_config()
    else:
        config = make_config(**{**ONE_STEP, "stage__epochs": 2}, optimizer__lr=1e30, stage__clip_norm=0.0)
    with pytest.raises(TrainingDiverged) as caught:
        train(config, tmp_path, model=model)
    step = 1 if where == "weights" else 2
    assert str(caught.value).startswith(f"step {step} of 6: loss nan, gradient norm nan (norms before: ")
    assert ("none" in str(caught.value)) is (where == "weights")
    assert f"optimizer.lr={config.optimizer.lr:g}" in str(caught.value)
    details = caught.value.details
    assert details["step"] == step
    assert len(details["gradient_norms_before"]) == len(details["losses_before"]) == step - 1
    assert len(details["batch"]) == len(set(details["batch"])) == 8
    assert set(details["batch"]) <= {example.id for example in make_examples(20)}
    assert json.dumps(details)
    assert list(tmp_path.iterdir()) == []


def test_validation_loss_that_is_no_number_is_no_result(tmp_path, monkeypatch):
    real = CausalLanguageModeling.validation_step

    def spoil(self, batch, index):
        real(self, batch, index)
        self.validation_sums["loss"].update(torch.tensor(math.nan))

    monkeypatch.setattr(CausalLanguageModeling, "validation_step", spoil)
    with pytest.raises(TrainingDiverged, match="step 3 of 6: validation loss nan"):
        train(make_config(), tmp_path)


class Memory:
    """A logger that remembers."""

    def __init__(self):
        self.values = []

    def log_metrics(self, metrics, step=None):
        self.values.append((step, metrics))

    def __getattr__(self, name):
        return lambda *_, **__: None


def test_loggers_are_told_every_step_and_every_validation(tmp_path):
    logger = Memory()
    _, outcome = train(make_config(), tmp_path, loggers=[logger])
    losses = {step: values["train/loss"] for step, values in logger.values if "train/loss" in values}
    assert losses == {int(record["step"]): record["loss"] for record in outcome.history}
    validation = [(step, v["validation/loss"]) for step, v in logger.values if "validation/loss" in v]
    assert validation == list(zip((3, 6), outcome.validation_losses, strict=True))
    assert all(values["trainer/step"] == step for step, values in logger.values)


def test_plain_head_is_used_for_training_only_where_it_is_plain():
    config = make_config()
    assert make_module(make_model("olmo"), config).plain_head
    module = make_module(make_model("gemma2", attention="eager"), config)
    assert not module.plain_head
    (micro,) = make_step(encoded(config, 4), pad_id=0, micro_batch=4).micro_batches
    full = module.model(input_ids=micro["input_ids"]).logits
    expected = torch.nn.functional.cross_entropy(
        full[micro["rows"], micro["columns"]].float(), micro["targets"], reduction="sum"
    )
    assert torch.equal(module.sum_loss(micro), expected)
