"""The one model in memory: which weights it holds, and how it comes to hold others without being rebuilt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.checkpoints.loading import check_vocabulary, load_model, load_tokenizer
from pretune.checkpoints.resolution import Resolved, locate
from pretune.errors import WeightsNotKept

if TYPE_CHECKING:
    import torch


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

    def use_base(self, resolved: Resolved) -> None:
        """Make the model hold the weights of ``resolved``; downloads, loads or copies as little as possible."""
        if self.holds == resolved.identity:
            return
        if self._base_identity != resolved.identity:
            self._load(resolved)
        else:
            self._copy_in(self._base_weights)
        self.holds = resolved.identity

    def use_tuned(self, resolved: Resolved, run_dir: Path, identity: str) -> None:
        """Make the model hold the fine-tuned weights kept in ``run_dir``."""
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
        self._copy_in(dict(load_model(folder).state_dict()))
        self.holds = identity

    def adopt(self, identity: str) -> None:
        """Note that the model was trained in place and now holds the weights of cell ``identity``."""
        self.model.to(self._device())  # Lightning leaves it on the CPU
        self.holds = identity

    def _device(self) -> torch.device:
        from pretune.training.fitting import choose_device

        return choose_device(self.accelerator)

    def spoil(self) -> None:
        """Note that the model's weights are about to be changed: they are nobody's until adopted."""
        self.holds = None

    def _load(self, resolved: Resolved) -> None:
        folder = locate(resolved, self.cache_dir)
        self.model = self.holds = self._base_identity = None
        self._base_weights = {}
        self.tokenizer = load_tokenizer(folder)
        model = load_model(folder)
        check_vocabulary(model, self.tokenizer, folder)
        self._base_weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        self._base_identity = resolved.identity
        self.model = model.to(self._device())

    def _copy_in(self, weights: dict[str, torch.Tensor]) -> None:
        self.model.to(self._device())  # a training that failed leaves it elsewhere
        self.model.load_state_dict(weights)
        for parameter in self.model.parameters():
            parameter.grad = None
