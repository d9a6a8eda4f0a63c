"""Pre-training text as the regularisers use it: windows to replay, and the Fisher information on them."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from pretune.data.encoding import Encoded
from pretune.errors import DataError
from pretune.modeling import input_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def cut_windows(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, length: int) -> list[Encoded]:
    """Cut the stream of ``texts``, each followed by end-of-text, into windows of ``length`` tokens, all learnt.

    What is left at the end is dropped, unless it is all there is. Raises :class:`DataError` when there is no text.
    """
    tokenized: Any = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"] if texts else []
    stream = [token for ids in tokenized for token in (*ids, tokenizer.eos_token_id)]
    if len(stream) < 2:
        raise DataError("the pre-training text of the regularizer is empty")
    starts = range(0, max(len(stream) - length, 0) + 1, length)
    return [Encoded(ids=tuple(stream[start : start + length]), context=0) for start in starts]


class ReplayedText:
    """Windows of pre-training text for every optimizer step, drawn by ``seed`` without repetition until all are used.

    A step of ``batch_size`` rows gets batch_size · share / (1 − share) windows, rounded up: they are ``share`` of its
    rows.
    """

    def __init__(self, windows: Sequence[Encoded], *, batch_size: int, share: float, seed: int) -> None:
        self.windows = windows
        self.count = math.ceil(round(batch_size * share / (1.0 - share), 9))
        self.seed = seed

    def __call__(self, step: int) -> list[Encoded]:
        """The windows of an optimizer step (from 0): a pure function of it, so that a resumption repeats them."""
        numbers = range(step * self.count, (step + 1) * self.count)
        return [self.windows[self._draw(number)] for number in numbers]

    def _draw(self, number: int) -> int:
        passed, position = divmod(number, len(self.windows))
        order = list(range(len(self.windows)))
        random.Random(f"replay/{self.seed}/{passed}").shuffle(order)
        return order[position]


def estimate_fisher(
    model: PreTrainedModel, windows: Iterable[Encoded], parameters: Sequence[torch.nn.Parameter], *, seed: int
) -> list[torch.Tensor]:
    """Diagonal of the Fisher information per token of ``parameters`` on text, in fp32.

    It is the expectation of the squared gradient of log p(token | context) over tokens that the *model* draws (the
    so-called empirical Fisher, with the text's own tokens, is another quantity: Kunstner et al., arXiv 1905.12558). The
    tokens of a window are drawn independently given the text, so that the square of their summed gradient has the sum
    of the squares as its expectation: one backward pass per window.
    """
    device = input_device(model)
    generator = torch.Generator(device="cpu").manual_seed(seed)
    sums, tokens = [torch.zeros_like(parameter, dtype=torch.float32) for parameter in parameters], 0
    training = model.training
    model.eval()
    try:
        for window in windows:
            ids = torch.tensor([window.ids], device=device)
            output: Any = model(input_ids=ids, use_cache=False)
            logs = output.logits[0].float().log_softmax(-1)
            drawn = torch.multinomial(logs.detach().exp().cpu(), 1, generator=generator).to(device)
            gradients = torch.autograd.grad(logs.gather(1, drawn).sum(), list(parameters))
            for total, gradient in zip(sums, gradients, strict=True):
                total.addcmul_(gradient.float(), gradient.float())
            tokens += len(window.ids)
    finally:
        model.train(training)
    return [total / max(tokens, 1) for total in sums]
