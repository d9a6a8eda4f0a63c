"""Tiny random models, tokenizers trained on the spot, and plain reference computations."""

from __future__ import annotations

import random
from functools import lru_cache

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    Cohere2Config,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    OlmoConfig,
    PreTrainedTokenizerFast,
)

from pretune.data.encoding import Encoder
from pretune.data.examples import Prompt

TEXT = "the a bird robin lay sat in on garden tree small little that is , . entailment neutral contradiction yes no"
WORDS = TEXT.split()
ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;?!#_'\n▁"
SENTENCES = [" ".join(random.Random(seed).choices(WORDS, k=12)) for seed in range(60)]

SIZE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
CONFIGS = {
    "olmo": lambda **k: OlmoConfig(**SIZE, **k),
    "olmo2": lambda **k: Olmo2Config(**SIZE, **k),
    "llama": lambda **k: LlamaConfig(**SIZE, num_key_value_heads=2, tie_word_embeddings=True, **k),
    "neox": lambda **k: GPTNeoXConfig(**SIZE, **k),
    "gpt2": lambda max_position_embeddings, **k: GPT2Config(
        n_embd=32, n_layer=2, n_head=4, n_positions=max_position_embeddings, **k
    ),
    "mistral": lambda **k: MistralConfig(**SIZE, num_key_value_heads=2, sliding_window=8, **k),
    # windows that some texts of the tests fit into and others do not
    "mistral_40": lambda **k: MistralConfig(**SIZE, num_key_value_heads=2, sliding_window=40, **k),
    "gemma3_40": lambda **k: Gemma3TextConfig(
        **SIZE,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=40,
        layer_types=["sliding_attention", "full_attention"],
        **k,
    ),
    "gemma2": lambda **k: Gemma2Config(**SIZE, num_key_value_heads=2, head_dim=8, sliding_window=8, **k),
    "granite": lambda **k: GraniteConfig(**SIZE, num_key_value_heads=2, logits_scaling=3.0, **k),
    "cohere2": lambda **k: Cohere2Config(**SIZE, num_key_value_heads=2, logit_scale=0.3, sliding_window=8, **k),
}


@lru_cache
def make_tokenizer(kind: str = "bpe") -> PreTrainedTokenizerFast:
    if kind == "bpe":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=330,
            special_tokens=["<eos>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(SENTENCES, trainer)
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")
    if kind == "metaspace":  # as SentencePiece does it: a mark in front of every word, the first one too, and a BOS
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
        trainer = trainers.BpeTrainer(
            vocab_size=200,
            special_tokens=["<unk>", "<s>", "</s>"],
            initial_alphabet=list(ALPHABET),
            show_progress=False,
        )
        tokenizer.train_from_iterator(SENTENCES, trainer)
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
        )
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    vocabulary = {word: i for i, word in enumerate(["<eos>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", unk_token="<unk>")


def make_encoder(kind: str = "bpe", max_length: int = 128) -> Encoder:
    return Encoder(make_tokenizer(kind), max_length=max_length)


def make_model(
    name: str = "olmo",
    *,
    seed: int = 0,
    attention: str = "sdpa",
    context: int = 128,
    std: float = 0.2,
    vocabulary: int = 400,
):
    torch.manual_seed(seed)
    config = CONFIGS[name](
        vocab_size=vocabulary, max_position_embeddings=context, initializer_range=std, eos_token_id=0,
        bos_token_id=0, pad_token_id=None,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()


def reference_scores(model, encoder: Encoder, prompt: Prompt) -> list[tuple[float, float]]:
    """(sum, first token) of each completion by one plain forward pass over each whole sequence."""
    result = []
    options = [encoder.encode(prompt, completion) for completion in prompt.completions]
    lead = [] if all(encoded.context for encoded in options) else [encoder.tokenizer.eos_token_id]
    for encoded in options:
        ids, context = lead + list(encoded.ids), len(lead) + encoded.context
        with torch.inference_mode():
            logits = model(torch.tensor([ids])).logits[0].double()
        logs = logits.log_softmax(-1)
        tokens = [logs[i - 1, ids[i]].item() for i in range(context, len(ids))]
        result.append((sum(tokens), tokens[0] if tokens else 0.0))
    return result


def close(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-5 * max(1.0, abs(b))
