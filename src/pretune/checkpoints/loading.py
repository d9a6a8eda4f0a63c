"""Loading weights and tokenizers from a folder, safely: safetensors, no code from the repository.

Pickled weights are loaded on demand only, by torch's restricted unpickler (``weights_only``).
"""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

from pretune.checkpoints.files import choose_weights
from pretune.checkpoints.inspection import inspect_folder
from pretune.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model", "*.tiktoken", "tekken.json")
"""Files that hold a vocabulary: without one, transformers makes an empty tokenizer and says nothing."""


def silence_progress_bars() -> None:
    """Switch off transformers' bars, one per file of weights that is read or written: they tear up our own.

    Those of downloads stay as they are; transformers would switch them off too.
    """
    from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars
    from transformers.utils.logging import disable_progress_bar

    downloads_hidden = are_progress_bars_disabled()
    disable_progress_bar()
    if not downloads_hidden:
        enable_progress_bars()


def load_model(folder: Path, *, allow_pickle: bool = False) -> PreTrainedModel:
    """Load a causal language model in fp32. Raises :class:`CheckpointError` for missing or non-finite weights."""
    import torch
    from transformers import AutoModelForCausalLM

    silence_progress_bars()
    inspect_folder(folder)
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    pickled = allow_pickle and choose_weights(names, str(folder), allow_pickle=True)[0].endswith(".bin")
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=not pickled,
            weights_only=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - each library under it has exceptions of its own for what makes no sense
        raise CheckpointError(f"{folder}: no loadable causal language model: {explain_refusal(error)}") from error
    if report.get("missing_keys") or report.get("mismatched_keys"):
        missing = sorted(str(key) for key in (*report["missing_keys"], *report.get("mismatched_keys", ())))
        raise CheckpointError(f"{folder}: weights are missing or of the wrong shape: {', '.join(missing[:5])}")
    bad = [name for name, tensor in model.named_parameters() if not torch.isfinite(tensor).all()]
    if bad:
        raise CheckpointError(f"{folder}: weights are not finite: {', '.join(bad[:5])}")
    model.eval()
    return model


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer and make sure that padding is possible (the end-of-text token serves if need be)."""
    from transformers import AutoTokenizer

    if not any(next(folder.glob(pattern), None) for pattern in VOCABULARIES):
        raise CheckpointError(f"{folder}: no loadable tokenizer: none of {', '.join(VOCABULARIES)} is there")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # noqa: BLE001 - the library under it raises bare exceptions for what it cannot parse
        raise CheckpointError(f"{folder}: no loadable tokenizer: {explain_refusal(error)}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def explain_refusal(error: Exception) -> str:
    """The reason in one line, without the advice of libraries to run a repository's code or to unpickle it."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if "trust_remote_code" in str(error) or "custom code" in text:
        return "it needs code of its own, which is never run"
    if isinstance(error, UnpicklingError) or "weights_only" in str(error):
        return "its pickled weights hold more than tensors, and are not unpickled"
    return text


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Raise when the tokenizer can produce ids that the embedding does not have."""
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise CheckpointError(f"{folder}: the tokenizer has {len(tokenizer)} tokens, the embedding only {rows} rows")
