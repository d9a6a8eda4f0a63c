"""Every regulariser on a case whose answer is known."""

from __future__ import annotations

import pytest
import torch

from pretune.config.science import Optimizer, Regularizer
from pretune.data.encoding import Encoded
from pretune.errors import DataError
from pretune.training.optimizers import build_optimizer
from pretune.training.regularizers import QuadraticPenalty, SharpnessAware, build_regularization
from pretune.training.text import ReplayedText, cut_windows, estimate_fisher
from support.models import SENTENCES, make_model
from support.training import Interrupted, equal_weights, make_config, make_padded_tokenizer, train


def descend(parameter, target, stiffness, regularization, steps=400):
    """Minimise Σ ½ · stiffness · (w − target)² and the penalty by plain gradient descent."""
    for _ in range(steps):
        parameter.grad = (stiffness * (parameter - target)).detach()
        regularization.add_gradient()
        with torch.no_grad():
            parameter -= 0.2 * parameter.grad


def test_l2sp_settles_between_the_optimum_and_the_start():
    """argmin ½a(w − t)² + ½s(w − w₀)² is (a·t + s·w₀) / (a + s)."""
    start, target, stiffness = torch.tensor([2.0, -1.0]), torch.tensor([0.0, 3.0]), torch.tensor([1.0, 3.0])
    parameter = torch.nn.Parameter(start.clone())
    descend(parameter, target, stiffness, QuadraticPenalty([parameter], 0.5))
    expected = (stiffness * target + 0.5 * start) / (stiffness + 0.5)
    assert torch.allclose(parameter.detach(), expected, atol=1e-6)


def test_l2sp_leaves_frozen_weights_alone_and_makes_a_missing_gradient():
    moved, frozen = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2), requires_grad=False)
    penalty = QuadraticPenalty([moved, frozen], 0.1)
    with torch.no_grad():
        moved += 1.0
    penalty.add_gradient()
    assert torch.allclose(moved.grad, torch.full((2,), 0.1))
    assert frozen.grad is None


def distance(model, other) -> float:
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    return float(torch.stack([(a - b).detach().norm() for a, b in pairs]).norm())


def test_stronger_l2sp_keeps_a_fine_tuning_nearer_to_the_base_weights(tmp_path):
    plain = {"optimizer__name": "sgd", "optimizer__lr": 0.02, "stage__clip_norm": 0.0, "stage__schedule": "constant"}
    base = make_model(context=128)
    distances = []
    for strength in (0.0, 5.0, 40.0):
        config = make_config(**plain, regularizer__name="l2sp", regularizer__strength=strength)
        model, _ = train(config, tmp_path / f"{strength}")
        distances.append(distance(model, base))
    assert distances[0] > 1.1 * distances[1] > 1.5 * distances[2] > 0
    model, _ = train(make_config(**plain), tmp_path / "none")
    assert distance(model, base) == pytest.approx(distances[0], rel=1e-6)


def test_l2sp_pulls_to_the_base_weights_after_a_resumption_too(tmp_path):
    config = make_config(regularizer__name="l2sp", regularizer__strength=5.0)
    expected, _ = train(config, tmp_path / "whole")
    saving = make_config(regularizer__name="l2sp", regularizer__strength=5.0, trainer__save_seconds=1e-9)
    with pytest.raises(Interrupted):
        train(saving, tmp_path / "parts", stop_at=5)
    model, outcome = train(saving, tmp_path / "parts")
    assert outcome.resumed_at == 5
    assert equal_weights(model, expected)


def test_no_regulariser_adds_nothing():
    parameter = torch.nn.Parameter(torch.ones(2))
    build_regularization(Regularizer(), torch.nn.ParameterList([parameter])).add_gradient()
    assert parameter.grad is None
    build_optimizer(Optimizer(name="sgd"), [parameter]).step()
    assert torch.equal(parameter, torch.ones(2))


def test_ewc_pulls_each_weight_by_its_importance():
    """argmin ½a(w − t)² + ½λF(w − w₀)² is (a·t + λF·w₀) / (a + λF): unimportant weights are free."""
    start, target = torch.tensor([2.0, -1.0, 1.0]), torch.tensor([0.0, 3.0, 5.0])
    importance = torch.tensor([4.0, 0.5, 0.0])
    parameter = torch.nn.Parameter(start.clone())
    descend(parameter, target, 1.0, QuadraticPenalty([parameter], 0.5, importance=[importance]))
    pull = 0.5 * importance
    assert torch.allclose(parameter.detach(), (target + pull * start) / (1.0 + pull), atol=1e-5)


class Unigram(torch.nn.Module):
    """A language model whose logits are one vector, whatever the context: its Fisher information is known."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(logits)

    def get_input_embeddings(self):
        return torch.nn.Embedding(len(self.logits), 1)

    def forward(self, input_ids, use_cache):
        return type("Output", (), {"logits": self.logits.expand(*input_ids.shape, -1)})()


def test_fisher_information_of_a_softmax_is_that_of_the_text_books():
    """The Fisher information of the logits of a categorical is diag(p) − p·pᵀ: its diagonal is p(1 − p)."""
    model = Unigram(torch.tensor([1.0, 0.0, -1.0, 0.5]))
    windows = [Encoded(ids=(0, 1, 2, 3), context=0)] * 3000
    (fisher,) = estimate_fisher(model, windows, [model.logits], seed=0)
    p = model.logits.detach().softmax(0)
    assert torch.allclose(fisher, p * (1 - p), rtol=0.08)


def test_ewc_protects_what_the_text_needs(tmp_path):
    """The move, weighed by the Fisher information (of other draws), is smaller than without."""
    how = {"optimizer__name": "sgd", "optimizer__lr": 0.02, "stage__clip_norm": 0.0, "stage__epochs": 5}
    base = make_model(context=128)
    config = make_config(**how, regularizer__name="ewc", regularizer__strength=15.0, regularizer__windows=6)
    tuned, _ = train(config, tmp_path / "ewc", text=SENTENCES)
    free, _ = train(make_config(**how), tmp_path / "none")
    windows = cut_windows(SENTENCES, make_padded_tokenizer(), length=128)
    parameters = list(base.parameters())
    fisher = estimate_fisher(base, windows[:6], parameters, seed=1)

    def cost(model):
        moves = zip(model.parameters(), parameters, fisher, strict=True)
        return float(sum((f * (a - b).detach() ** 2).sum() for a, b, f in moves))

    assert cost(tuned) < 0.7 * cost(free)


def test_sam_takes_the_gradient_at_the_top_of_its_ball():
    """For ½wᵀAw the gradient of SAM at w is A(w + ρ·Aw/‖Aw‖), and the weights are back at w."""
    matrix, point, radius = torch.diag(torch.tensor([1.0, 4.0])), torch.tensor([3.0, -0.5]), 0.3
    parameter = torch.nn.Parameter(point.clone())
    sam = SharpnessAware([parameter], radius)
    parameter.grad = matrix @ parameter.detach()
    assert sam.ascend()
    parameter.grad = matrix @ parameter.detach()
    sam.descend()
    slope = matrix @ point
    assert torch.allclose(parameter.grad, matrix @ (point + radius * slope / slope.norm()))
    assert torch.equal(parameter.detach(), point)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_sam_in_a_training_is_the_gradient_at_the_climbed_weights(tmp_path, precision):
    """One plain step with SAM equals one plain step from the climbed weights, applied to the base."""
    one = {"optimizer__name": "sgd", "optimizer__lr": 0.1, "stage__clip_norm": 0.0, "stage__epochs": 1}
    one |= {"stage__schedule": "constant", "stage__warmup_ratio": 0.0, "trainer__precision": precision}
    base = [p.detach().clone() for p in make_model(context=128).parameters()]

    def step(folder, model, **more):
        trained, _ = train(make_config(**one, **more), tmp_path / folder, rows=8, model=model)
        return [p.detach().clone() for p in trained.parameters()]

    plain = step("plain", make_model(context=128))
    gradient = [(b - p) / 0.1 for b, p in zip(base, plain, strict=True)]
    norm = torch.stack([g.norm() for g in gradient]).norm()
    climbed = make_model(context=128)
    with torch.no_grad():
        for parameter, g in zip(climbed.parameters(), gradient, strict=True):
            parameter += 2.0 * g / norm
    start = [p.detach().clone() for p in climbed.parameters()]
    expected = [a - b for a, b in zip(start, step("climbed", climbed), strict=True)]
    sam = step("sam", make_model(context=128), regularizer__name="sam", regularizer__strength=2.0)
    moved = [b - s for b, s in zip(base, sam, strict=True)]
    tolerance = 1e-3 if precision == "32-true" else 0.05
    far = [(b - p) for b, p in zip(base, plain, strict=True)]
    error = sum(float((m - e).norm() ** 2) for m, e in zip(moved, expected, strict=True)) ** 0.5
    size = sum(float(e.norm() ** 2) for e in expected) ** 0.5
    other = sum(float((f - e).norm() ** 2) for f, e in zip(far, expected, strict=True)) ** 0.5
    assert error < tolerance * size < 0.5 * other


def test_windows_of_text_hold_the_whole_stream_once():
    tokenizer = make_padded_tokenizer()
    windows = cut_windows(SENTENCES[:9], tokenizer, length=16)
    stream = [t for text in SENTENCES[:9] for t in (*tokenizer(text)["input_ids"], tokenizer.eos_token_id)]
    assert [t for window in windows for t in window.ids] == stream[: len(stream) // 16 * 16]
    assert windows[0].supervised() == list(range(1, 16))
    assert cut_windows(["a"], tokenizer, length=16)[0].ids[-1] == tokenizer.eos_token_id
    with pytest.raises(DataError, match="empty"):
        cut_windows([], tokenizer, length=16)


def test_replayed_text_is_its_share_of_the_rows_and_repeats_nothing_before_all_was_seen():
    windows = [Encoded(ids=(n, n), context=0) for n in range(12)]
    replay = ReplayedText(windows, batch_size=8, share=1 / 3, seed=0)
    steps = [[window.ids[0] for window in replay(step)] for step in range(6)]
    assert {len(step) for step in steps} == {4}
    assert sorted(sum(steps[:3], [])) == sorted(sum(steps[3:], [])) == list(range(12))
    assert sum(steps[:3], []) != sum(steps[3:], [])
    assert ReplayedText(windows, batch_size=8, share=0.01, seed=0).count == 1


def test_replay_mixes_the_two_gradients_by_its_share(tmp_path):
    """A plain step with replay is (1 − s) · the task's step + s · the text's step."""
    one = {"optimizer__name": "sgd", "optimizer__lr": 1e3, "stage__clip_norm": 0.0, "stage__epochs": 1}
    one |= {"stage__schedule": "constant", "stage__warmup_ratio": 0.0}
    base = make_model(context=128)

    def move(share, folder):
        more = {"regularizer__name": "replay", "regularizer__strength": share} if share else {}
        config = make_config(**one, **more, regularizer__window_length=64)
        # one window, so that every share replays the same text
        text = [" ".join(SENTENCES[:2])[:60]] if share else ()
        model, outcome = train(config, tmp_path / folder, rows=8, text=text)
        moves = zip(base.parameters(), model.parameters(), strict=True)
        return torch.cat([(b - m).detach().flatten().double() for b, m in moves]), outcome.history[0]

    task, alone = move(0.0, "task")
    half, history = move(0.5, "half")
    quarter, _ = move(0.25, "quarter")
    text = 2 * half - task
    assert torch.allclose(quarter, 0.75 * task + 0.25 * text, rtol=1e-3, atol=1e-3 * float(task.abs().max()))
    assert history["loss"] == pytest.approx(alone["loss"], rel=1e-6)
    assert history["text_loss"] > 0
    assert "text_loss" not in alone


def test_replay_goes_on_with_the_text_it_would_have_seen(tmp_path):
    how = {"regularizer__name": "replay", "regularizer__strength": 0.3, "regularizer__window_length": 16}
    expected, _ = train(make_config(**how), tmp_path / "whole", text=SENTENCES)
    saving = make_config(**how, trainer__save_seconds=1e-9)
    with pytest.raises(Interrupted):
        train(saving, tmp_path / "parts", stop_at=4, text=SENTENCES)
    model, _ = train(saving, tmp_path / "parts", text=SENTENCES)
    assert equal_weights(model, expected)
