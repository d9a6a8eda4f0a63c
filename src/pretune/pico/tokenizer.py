"""The word-level tokenizer of the small language."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pretune.pico.lexicon import corpus_words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

EOS, PAD, UNK = "<eos>", "<pad>", "<unk>"

_TASK_TEXT = """
entailment neutral contradiction same different yes no
where what which
it could breathe felt hungry had maker was built mover stander
would you call do say i true every alive lifeless
: ? premise hypothesis relation first second paraphrase document summary context answer question
user assistant
consider these two sentences one how do they relate do say same compare please read this text
and now list kinds in order given ask for with or
"""

TASK_WORDS: tuple[str, ...] = tuple(_TASK_TEXT.split())
"""Words of templates, instructions and answers; those that are not in the corpus get their meaning in fine-tuning."""


def vocabulary() -> dict[str, int]:
    """Word → id: special tokens, then the words of the corpus, then those of the tasks, in a fixed order."""
    words = dict.fromkeys((EOS, PAD, UNK, *corpus_words(), *TASK_WORDS))
    return {word: index for index, word in enumerate(words)}


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer: lower-case words split at white space, one token each, offsets into the text as given."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel(vocabulary(), unk_token=UNK))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=EOS,
        pad_token=PAD,
        unk_token=UNK,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )
