"""Operations, shapes and memory against what real models have and do."""

from __future__ import annotations

import dataclasses

import pytest

from pretune.config.science import Checkpoint, Corpus, Model, Recipe, Shape, Task
from pretune.planning.accelerators import ACCELERATORS, LARGEST_SHARE, find_peak, share_of_peak
from pretune.planning.calibration import seconds_on
from pretune.planning.costs import (
    PICO_VOCABULARY,
    Work,
    forward_flops,
    shape_of,
    training_memory,
    work_of_evaluation,
    work_of_training,
)
from pretune.planning.sizes import ASSUMED, SIZES, size_of
from support.configs import CONFIG, change

SHAPE = Shape(parameters=1_180_000_000, layers=16, hidden_size=2048, vocabulary=50304)
MNLI = Task(name="mnli", family="nli")


def test_a_ladders_shape_is_that_of_the_model_that_is_built():
    from pretune.pico.tokenizer import build_tokenizer, vocabulary
    from pretune.training.pretrain import build_model

    assert len(vocabulary()) == PICO_VOCABULARY
    for tied in (False, True):
        model = Model(hidden_size=32, intermediate_size=64, layers=2, heads=2, tie_embeddings=tied)
        shape = shape_of(Checkpoint(source="ladder", recipe=Recipe(model=model)))
        built = build_model(model, build_tokenizer(), seed=0)
        assert shape.parameters == built.num_parameters()
        text = Recipe(text="folder", corpus=Corpus(vocabulary=512), model=model)
        assert shape_of(Checkpoint(source="ladder", recipe=text)).vocabulary == 512
    assert shape_of(Checkpoint(shape=SHAPE)) == SHAPE
    assert shape_of(Checkpoint()) is None


def test_operations_are_those_that_torch_counts():
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from pretune.pico.tokenizer import build_tokenizer
    from pretune.training.pretrain import build_model

    model = Model(hidden_size=64, intermediate_size=128, layers=2, heads=2)
    built = build_model(model, build_tokenizer(), seed=0)
    shape = shape_of(Checkpoint(source="ladder", recipe=Recipe(model=model)))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        built(input_ids=torch.zeros((1, 128), dtype=torch.long))
    matrices = forward_flops(shape, tokens=128, length=0, heads=128)
    flops = {str(name): count for name, count in counter.get_flop_counts()["Global"].items()}
    assert matrices == sum(count for name, count in flops.items() if "attention" not in name)
    attention = forward_flops(shape, tokens=128, length=128, heads=128) - matrices
    assert attention == 2 * 2 * 2 * 128 * 128 * 64 / 2, "layers · products · 2 · tokens² · width, half of it causal"


def test_a_training_costs_three_passes_and_more_rows_more():
    once = work_of_training(CONFIG, SHAPE).flops
    assert work_of_training(change(CONFIG, "task.train_rows", 2 * CONFIG.task.train_rows), SHAPE).flops == 2 * once
    again = change(CONFIG, "trainer.activation_checkpointing", True)
    assert work_of_training(again, SHAPE).flops == pytest.approx(once * 4 / 3)
    assert work_of_training(change(CONFIG, "regularizer.name", "sam"), SHAPE).flops == pytest.approx(once * 2)


def test_shared_shots_are_read_once_and_own_ones_with_every_row():
    none, four, own = (
        work_of_evaluation(MNLI, SHAPE, shots=shots, limit=1000, own_shots=each).flops
        for shots, each in ((0, False), (4, False), (4, True))
    )
    assert none < four < 1.2 * none
    assert own > 3 * four
    assert work_of_evaluation(MNLI, SHAPE, shots=0, limit=None).flops > 9 * none
    xsum = Task(name="xsum", family="summary", answer="generation")
    assert work_of_evaluation(xsum, SHAPE, shots=0, limit=10).decoding > 0


def test_states_of_the_optimizer_are_in_the_memory_and_are_divided_among_devices():
    full = training_memory(CONFIG, SHAPE)
    assert 16 * SHAPE.parameters < full < 30 * SHAPE.parameters
    assert full - training_memory(change(CONFIG, "optimizer.name", "adamw8bit"), SHAPE) == 6 * SHAPE.parameters
    assert training_memory(change(CONFIG, "regularizer.name", "lora"), SHAPE) < 0.6 * full
    sharded = dataclasses.replace(CONFIG.trainer, strategy="fsdp", devices=4)
    assert training_memory(dataclasses.replace(CONFIG, trainer=sharded), SHAPE) < 0.5 * full
    assert training_memory(CONFIG, SHAPE, micro_batch=1) < full


def test_what_deepspeed_divides_grows_with_the_stage():
    def memory(strategy: str, devices: int) -> float:
        trainer = dataclasses.replace(CONFIG.trainer, strategy=strategy, devices=devices)
        return training_memory(dataclasses.replace(CONFIG, trainer=trainer), SHAPE)

    for stage, divided in (("deepspeed_zero2", 16), ("deepspeed_zero3", 20)):
        saved = memory(stage, 2) - memory(stage, 8)
        assert saved == pytest.approx(divided * SHAPE.parameters * (1 / 2 - 1 / 8))
    assert memory("deepspeed_zero2", 8) - memory("deepspeed_zero3", 8) == pytest.approx(3.5 * SHAPE.parameters)


def test_an_accelerator_gives_less_to_short_passes():
    device = ACCELERATORS["A100"]
    long, short = (seconds_on(device, Work(flops=1e18, tokens_in_pass=n)) for n in (1e6, 200))
    assert long == pytest.approx(1e18 / (312e12 * LARGEST_SHARE), rel=0.01)
    assert short > 3 * long
    assert seconds_on(device, Work(flops=1e18, tokens_in_pass=1e6), devices=8) == pytest.approx(long / 8)
    assert share_of_peak(1024) == LARGEST_SHARE / 2
    assert find_peak("NVIDIA H100 80GB HBM3") == 989e12
    assert find_peak("AMD something") is None


def test_sizes_are_recorded_or_assumed_and_that_is_known():
    assert size_of(MNLI) is SIZES["mnli"]
    assert size_of(Task(name="mine", family="nli")) is ASSUMED["classification"]
    assert not size_of(Task(name="mine", family="nli")).known
    assert size_of(Task(name="pico/nli", family="pico_nli", source="pico")).known


@pytest.mark.parametrize("name", ["nli", "nli_far", "paraphrase", "chat", "chat_far", "choice", "question", "summary"])
def test_sizes_of_the_miniature_are_those_of_its_rows(name):
    from pretune.pico.tasks import rows

    size = size_of(Task(name=f"pico/{name}", family="x", source="pico"))
    assert size.known
    assert size.rows == len(rows(f"pico/{name}", "test"))
    left_out = {"id", "label", "options", "answer", "question", "summary"}
    read = rows(f"pico/{name}", "train")
    texts = [" ".join(str(text) for key, text in row.items() if key not in left_out) for row in read]
    words = sum(len(text.split()) for text in texts) / len(texts)
    assert words <= size.prompt <= words + 9
