"""A corpus made ready for pre-training: its tokenizer, its tokens in one file, and windows cut from them.

::

    <ladder>/heldout/validation.parquet   documents kept out of training
    <ladder>/tokenizer/                   byte-level BPE, trained on part of the training documents
    <ladder>/tokens.bin, tokens.json      the other documents, each followed by end-of-text (unsigned 16 bit)
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.checkpoints.ladders import heldout_dir
from pretune.config.science import Recipe
from pretune.data.corpus import is_chosen, read_documents
from pretune.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EOS, PAD = "<|endoftext|>", "<|padding|>"
CHUNK = 512
"""Documents that are tokenised at once."""


@dataclass(frozen=True, kw_only=True)
class PackedText:
    """Training tokens of a corpus, cut into windows that each epoch sees in another order, fixed by ``seed``."""

    tokens: np.ndarray[Any, np.dtype[np.uint16]]
    length: int
    seed: int

    @property
    def windows(self) -> int:
        """Whole windows in the text; the tokens behind the last are not used."""
        return len(self.tokens) // self.length

    def batch(self, step: int, size: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The windows [size, length] of optimizer step ``step`` (from 0): a pure function of the step."""
        rows = []
        for position in range(step * size, (step + 1) * size):
            epoch, place = divmod(position, self.windows)
            start = int(order_of(self.seed, epoch, self.windows)[place]) * self.length
            rows.append(self.tokens[start : start + self.length])
        return np.stack(rows).astype(np.int64)


@functools.lru_cache(maxsize=2)
def order_of(seed: int, epoch: int, windows: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Order in which an epoch sees the windows."""
    return np.random.default_rng([seed, epoch]).permutation(windows)


def prepare_text(
    recipe: Recipe, folder: Path, *, on_step: Callable[[int, int], None] = lambda done, total: None
) -> tuple[PreTrainedTokenizerBase, PackedText]:
    """Tokenizer and packed tokens of the recipe's text, from ``folder`` or made there now.

    Raises :class:`DataError` when the text is too short for one window or for the documents to hold out.
    """
    from transformers import PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "tokens.json").is_file():
        total = sum(1 for _ in read_documents(recipe))
        if total <= recipe.corpus.held_out:
            raise DataError(
                f"checkpoint.recipe.corpus.held_out={recipe.corpus.held_out}: the text has only {total} documents"
            )
        write_held_out(recipe, heldout_dir(folder), total)
        train_tokenizer(recipe, total).save_pretrained(folder / "tokenizer")
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
        pack_tokens(recipe, folder, tokenizer, total, on_step)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
    tokens = np.memmap(folder / "tokens.bin", dtype=np.uint16, mode="r")
    text = PackedText(tokens=tokens, length=recipe.stage.sequence_length, seed=recipe.seed)
    if text.windows < 1:
        raise DataError(f"the pre-training text has only {len(tokens)} tokens: fewer than one window of {text.length}")
    return tokenizer, text


def split_documents(recipe: Recipe, total: int, *, held_out: bool) -> Iterator[str]:
    """The documents that are trained on, or those that are not."""
    for index, text in enumerate(read_documents(recipe)):
        if is_chosen(index, total, recipe.corpus.held_out) == held_out:
            yield text


def write_held_out(recipe: Recipe, folder: Path, total: int) -> None:
    """Write the documents kept out of training as rows of a task (column ``text``)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.table({"text": list(split_documents(recipe, total, held_out=True))}), folder / "validation.parquet"
    )


def train_tokenizer(recipe: Recipe, total: int) -> PreTrainedTokenizerBase:
    """Train byte-level BPE (Sennrich et al. 2016; bytes as in GPT-2) on evenly spaced training documents."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.corpus.vocabulary,
        special_tokens=[EOS, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    wanted = min(recipe.corpus.tokenizer_documents, total - recipe.corpus.held_out)
    chosen = (
        text
        for index, text in enumerate(split_documents(recipe, total, held_out=False))
        if is_chosen(index, total - recipe.corpus.held_out, wanted)
    )
    core.train_from_iterator(chosen, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=EOS,
        pad_token=PAD,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def pack_tokens(
    recipe: Recipe,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    total: int,
    on_step: Callable[[int, int], None],
) -> None:
    """Write the tokens of all training documents to one file; ``tokens.json`` is written last."""
    documents = split_documents(recipe, total, held_out=False)
    done = count = 0
    with open(folder / "tokens.bin", "wb") as file:
        while part := list(itertools.islice(documents, CHUNK)):
            for ids in tokenizer(part, add_special_tokens=False, verbose=False)["input_ids"]:
                np.array([*ids, tokenizer.eos_token_id], dtype=np.uint16).tofile(file)
                count += len(ids) + 1
            done += len(part)
            on_step(done, total)
    (folder / "tokens.json").write_text(json.dumps({"tokens": count, "documents": done, "vocabulary": len(tokenizer)}))
