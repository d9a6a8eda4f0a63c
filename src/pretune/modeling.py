"""Running a causal language model in parts: hidden states first, the output head only where it is needed.

The head of a 1 B model maps 2,048 numbers to 50,304; a classification row needs it at one or two of its sixty
positions. Leaving out the others saves most of the head's time and the [rows, length, vocabulary] tensor.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from pretune.errors import TooLargeForMemory

logger = logging.getLogger(__name__)


def text_config(model: Any) -> Any:
    """The configuration of the language model, also where it is one part of several."""
    config = model.config
    return config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config


def context_length(model: Any) -> int | None:
    """The longest sequence the model was made for, in tokens, or ``None`` where its configuration does not say."""
    config = text_config(model)
    for name in ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def vocabulary_size(model: Any) -> int:
    """Rows of the input embeddings, also where this process holds only a part of them."""
    return int(model.get_input_embeddings().num_embeddings)


def input_device(model: Any) -> torch.device:
    """Where token ids have to be."""
    device: torch.device = model.get_input_embeddings().weight.device
    return device


def agrees(model: Any, difference: Callable[[Any], float]) -> bool:
    """Whether two ways through the model give the same up to rounding in its dtype."""
    tolerance = {torch.float64: 1e-8, torch.float32: 1e-4, torch.float16: 1e-2}.get(model.dtype, 5e-2)
    try:
        # a NaN compares as False: a model with broken weights takes the plain way, and its scores tell
        return difference(model) <= tolerance
    except Exception as error:  # noqa: BLE001 - any refusal, of whatever type, means that this way is closed
        logger.debug("%s refuses: %s", difference.__name__, error)
        return False


def head_difference(model: Any) -> float:
    """Relative difference between the model's own logits and its output embeddings on the last hidden states."""
    vocabulary = vocabulary_size(model)
    ids = torch.tensor([[(7 * i + 3) % vocabulary for i in range(6)]], device=input_device(model))
    expected = model(input_ids=ids, use_cache=False).logits
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    return relative_difference(model.get_output_embeddings()(hidden), expected)


def relative_difference(value: torch.Tensor, reference: torch.Tensor) -> float:
    """Norm of the difference over the norm of ``reference``."""
    value, reference = value.detach().double(), reference.detach().double()
    return float((value - reference).norm() / reference.norm().clamp_min(1e-30))


def has_plain_head(model: Any) -> bool:
    """Whether the logits are nothing but the output embeddings applied to the last hidden states.

    Found out by a few tokens through the model, without gradients and dropout: soft caps and scales have many names.
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return agrees(model, head_difference)
    finally:
        model.train(training)


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write weights (safetensors) and tokenizer to ``folder``, loadable by ``from_pretrained``."""
    # transformers imports DeepSpeed here, where it is installed, and that prints a warning if it has to look for a GPU
    with without_gpu_search():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextlib.contextmanager
def without_gpu_search() -> Iterator[None]:
    """Tell DeepSpeed in the body that there is no GPU, where there is none."""
    name = "DS_ACCELERATOR"
    if torch.cuda.is_available() or name in os.environ:
        yield
        return
    os.environ[name] = "cpu"
    try:
        yield
    finally:
        del os.environ[name]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that the device or the machine has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return any(sign in text for sign in ("out of memory", "can't allocate memory", "alloc_failed"))


def too_large(tokens: int, remedy: str) -> TooLargeForMemory:
    """The error for one row of ``tokens`` tokens that does not fit into memory by itself."""
    return TooLargeForMemory(f"out of memory with a single row of {tokens} tokens: {remedy}")
