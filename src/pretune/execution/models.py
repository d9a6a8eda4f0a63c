"""The one model in memory: which weights it holds, and how it comes to hold others without being rebuilt."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.checkpoints.loading import check_vocabulary, load_model, load_tokenizer
from pretune.checkpoints.resolution import Resolved, locate
from pretune.checkpoints.soundness import checking, known_sums
from pretune.config.science import Checkpoint
from pretune.errors import CheckpointError, WeightsNotKept
from pretune.results.checksums import below, read_sums

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


class ModelHost:
    """Keeps the model of the current checkpoint, and its base weights in CPU memory between cells.

    ``holds`` names the weights now in the model: the identity of a checkpoint or the id of a train cell.
    """

    def __init__(self, cache_dir: str, accelerator: str) -> None:
        self.cache_dir = cache_dir
        self.accelerator = accelerator
        self.model: Any = None
        self.tokenizer: Any = None
        self.holds: str | None = None
        self._base_identity: str | None = None
        self._base_weights: dict[str, torch.Tensor] = {}
        self._said: set[str] = set()

    def use_base(self, resolved: Resolved) -> None:
        """Make the model hold the weights of ``resolved``; downloads, loads or copies as little as possible.

        Raises :class:`~pretune.errors.WeightsDamaged` for files that are not what was downloaded or written.
        """
        if self.holds == resolved.identity:
            return
        if self._base_identity != resolved.identity:
            self._load(resolved)
        else:
            self._copy_in(self._base_weights)
        self.holds = resolved.identity

    def use_tuned(self, resolved: Resolved, run_dir: Path, identity: str) -> None:
        """Make the model hold the fine-tuned weights kept in ``run_dir``; as careful as :meth:`use_base`."""
        if self.holds == identity:
            return
        folder = run_dir / "model"
        if not (folder / "config.json").is_file():
            raise WeightsNotKept(
                f"{run_dir.name}: its weights were not kept, so it cannot be evaluated further; "
                f"delete {run_dir} and train it again with keep_model=all"
            )
        self.use_base(resolved)
        self.holds = None
        with checking(folder, below(read_sums(run_dir), folder.name)):
            tuned = load_model(folder)
        self._copy_in(dict(tuned.state_dict()))
        self.holds = identity

    def adopt(self, identity: str) -> None:
        """Note that the model was trained in place and now holds the weights of cell ``identity``."""
        self.model.to(self._device())  # Lightning leaves it on the CPU
        self.holds = identity

    def _device(self) -> torch.device:
        from pretune.training.fitting import choose_device

        return choose_device(self.accelerator)

    def base_weights(self) -> dict[str, torch.Tensor]:
        """The weights before fine-tuning, in CPU memory."""
        return self._base_weights

    def spoil(self) -> None:
        """Note that the model's weights are about to be changed: they are nobody's until adopted."""
        self.holds = None

    def _load(self, resolved: Resolved) -> None:
        folder = locate(resolved, self.cache_dir)
        self.model = self.holds = self._base_identity = None
        self._base_weights = {}
        with checking(folder, known_sums(resolved, folder)):
            self.tokenizer = load_tokenizer(folder)
            model = load_model(folder, allow_pickle=resolved.checkpoint.allow_pickle)
        check_vocabulary(model, self.tokenizer, folder)
        check_special_tokens(resolved.checkpoint, self.tokenizer)
        for doubt in doubts(resolved.checkpoint, model, self.tokenizer):
            if doubt not in self._said:  # once, not for each checkpoint of the family
                self._said.add(doubt)
                log.warning("%s", doubt)
        self._base_weights = copy_weights(model)
        self._base_identity = resolved.identity
        self.model = model.to(self._device())

    def _copy_in(self, weights: dict[str, torch.Tensor]) -> None:
        self.model.to(self._device())  # a training that failed leaves it elsewhere
        self.model.load_state_dict(weights)
        for parameter in self.model.parameters():
            parameter.grad = None


def copy_weights(model: Any) -> dict[str, torch.Tensor]:
    """The weights of a model, by name, in memory of their own; tied ones share it."""
    copies: dict[tuple[int, torch.Size, tuple[int, ...]], torch.Tensor] = {}
    found = {}
    for name, tensor in model.state_dict().items():
        key = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if key not in copies:
            copies[key] = tensor.clone()
        found[name] = copies[key]
    return found


def check_special_tokens(checkpoint: Checkpoint, tokenizer: Any) -> None:
    """Raise when the tokenizer's end-of-text or padding token is not the family's.

    Prompts would end, and rows would be padded, with a token that the model has not seen in that place.
    """
    for key, found in (("eos_token", tokenizer.eos_token), ("pad_token", tokenizer.pad_token)):
        expected = getattr(checkpoint, key)
        if expected is not None and found != expected:
            raise CheckpointError(
                f"checkpoint.{key}={expected}: the tokenizer of {checkpoint.repo or checkpoint.path} has {found!r}; "
                f"checkpoint.{key}=null accepts it"
            )


def doubts(checkpoint: Checkpoint, model: Any, tokenizer: Any) -> Iterator[str]:
    """What is odd about a model, but may be meant: another context than its family's, another end of text."""
    from pretune.modeling import context_length

    length, expected = context_length(model), checkpoint.context_length
    if length is not None and expected is not None and length < expected:
        yield (
            f"{checkpoint.family}: these weights are made for {length} tokens, the family's for {expected} "
            "(checkpoint.context_length): are they what their name says?"
        )
    known = model.config.eos_token_id
    ids = known if isinstance(known, list) else [known]
    if known is not None and tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in ids:
        yield (
            f"{checkpoint.family}: the model's configuration ends texts with token {', '.join(map(str, ids))}, the "
            f"tokenizer with {tokenizer.eos_token_id} ({tokenizer.eos_token}); the tokenizer's is used"
        )
