"""Fine-tuning a part of the model: low-rank adapters (LoRA, QLoRA) and frozen weights.

The model is changed in place for the time of the training only. Afterwards it has its own modules again, with the
weights that were learnt: an adapter is merged, so that evaluation, saving and the next cell see a plain model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from pretune.config.science import Regularizer
from pretune.errors import UsageError, suggest

ADAPTER = "default"


@contextlib.contextmanager
def adapted(model: Any, config: Regularizer) -> Iterator[None]:
    """Let only those weights of ``model`` be trained in the body that the regularizer ``config`` leaves trainable.

    Adapters are merged at the end of the body; when it ends with an exception they are taken off without.
    """
    if config.name == "freeze":
        with trained_only_at_the_end(model, config.blocks):
            yield
    elif config.name in ("lora", "qlora"):
        with low_rank_adapters(model, config):
            yield
    else:
        yield


def find_blocks(model: Any) -> tuple[str, torch.nn.ModuleList]:
    """Name and modules of the transformer blocks: the longest list of modules in the model."""
    lists = [(name, m) for name, m in model.named_modules() if isinstance(m, torch.nn.ModuleList) and len(m)]
    if not lists:
        raise UsageError(f"{type(model).__name__} has no list of blocks, which regularizer=freeze and lora need")
    return max(lists, key=lambda item: len(item[1]))


@contextlib.contextmanager
def trained_only_at_the_end(model: Any, blocks: int) -> Iterator[None]:
    """Freeze all but the last ``blocks`` blocks and the output embeddings (with tied ones, those of the input too)."""
    _, layers = find_blocks(model)
    if blocks > len(layers):
        raise UsageError(f"regularizer.blocks={blocks}: the model has {len(layers)} blocks")
    before = {parameter: parameter.requires_grad for parameter in model.parameters()}
    model.requires_grad_(False)
    for layer in (*layers[len(layers) - blocks :], model.get_output_embeddings()):
        layer.requires_grad_(True)
    try:
        yield
    finally:
        for parameter, trainable in before.items():
            parameter.requires_grad_(trainable)


@contextlib.contextmanager
def low_rank_adapters(model: Any, config: Regularizer) -> Iterator[None]:
    """Put LoRA adapters (Hu et al., arXiv 2106.09685) on the linear layers of the blocks.

    With ``qlora`` the layers below them are quantised to 4 bits (nf4; Dettmers et al., arXiv 2305.14314), and the
    merged weights are the dequantised ones plus the adapter: those that were trained.
    """
    from peft import LoraConfig, inject_adapter_in_model

    originals = choose_layers(model, config)
    before = {parameter: parameter.requires_grad for parameter in model.parameters()}
    model.requires_grad_(False)
    if config.name == "qlora":
        for name, layer in originals.items():
            model.set_submodule(name, quantise(layer))
    settings = LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=list(originals)
    )
    inject_adapter_in_model(settings, model, adapter_name=ADAPTER)
    done = False
    try:
        yield
        done = True
    finally:
        for name, original in originals.items():
            if done:
                merge(model.get_submodule(name), original)
            model.set_submodule(name, original)
        for parameter, trainable in before.items():
            parameter.requires_grad_(trainable)
        model.__dict__.pop("peft_config", None)


def choose_layers(model: Any, config: Regularizer) -> dict[str, torch.nn.Linear]:
    """Linear layers of the blocks by full name: all, or those whose own name is among ``config.targets``."""
    prefix, layers = find_blocks(model)
    linear = {f"{prefix}.{name}": m for name, m in layers.named_modules() if isinstance(m, torch.nn.Linear)}
    own_names = sorted({name.rpartition(".")[2] for name in linear})
    for target in config.targets:
        if target not in own_names:
            raise UsageError(f"regularizer.targets={target}: {suggest(target, own_names)}")
    if not linear:
        raise UsageError(f"regularizer={config.name}: the blocks of {type(model).__name__} have no linear layers")
    return {name: m for name, m in linear.items() if not config.targets or name.rpartition(".")[2] in config.targets}


def quantise(layer: torch.nn.Linear) -> Any:
    """The layer with its weight in 4 bits (nf4), computing in the dtype of its input."""
    import bitsandbytes as bnb

    with_bias = layer.bias is not None
    small = bnb.nn.Linear4bit(layer.in_features, layer.out_features, bias=with_bias, quant_type="nf4")
    weight = layer.weight.detach().clone()
    small.weight = bnb.nn.Params4bit(weight, requires_grad=False, quant_type="nf4", module=small)
    if with_bias:
        small.bias = torch.nn.Parameter(layer.bias.detach().clone(), requires_grad=False)
    small.support_avx512bf16_for_cpu = False  # inference would repack the weights, and round otherwise than training
    return small.to(layer.weight.device)


@torch.no_grad()
def merge(adapter: Any, original: torch.nn.Linear) -> None:
    """Write the weight that ``adapter`` computes with into ``original``."""
    base = adapter.get_base_layer()
    weight = base.weight.data
    if base is not original:
        import bitsandbytes.functional as bnb

        weight = bnb.dequantize_4bit(weight, base.weight.quant_state)
    merged = weight.float() + adapter.get_delta_weight(ADAPTER).float()
    original.weight.copy_(merged.to(original.weight.device))
