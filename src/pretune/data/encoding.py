"""Tokens of a prompt with its completion: one joint tokenisation for training and evaluation alike.

Tokenising prompt and completion apart can split a word differently from tokenising them together, which trains
on one sequence and scores another (defect D7 of the reference study). Here the text is always tokenised as a
whole and the boundary is found by character offsets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pretune.data.examples import Exchange, Prompt
from pretune.errors import DataError, PromptTooLong

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Tokens of one prompt followed by one completion.

    ``ids[:context]`` is the prompt, ``ids[context:]`` the completion (and the end-of-text token, if asked for).
    ``cut`` is the number of tokens removed from the prompt's body to make it fit (of a conversation: those of the
    exchanges left out at its end). ``spans`` are the parts (start, end) that are learnt where that is not all from
    ``context`` on: the replies of a conversation.
    """

    ids: tuple[int, ...]
    context: int
    cut: int = 0
    spans: tuple[tuple[int, int], ...] = ()

    @property
    def completion(self) -> tuple[int, ...]:
        """Tokens after the boundary."""
        return self.ids[self.context :]

    def supervised(self) -> list[int]:
        """Positions of the tokens that are learnt; the first token of a text has no prediction and is none of them."""
        spans = self.spans or ((self.context, len(self.ids)),)
        return [position for start, end in spans for position in range(max(start, 1), end)]


class Encoder:
    """Tokenises prompts for one tokenizer.

    A token that straddles the boundary belongs to the completion. ``max_length`` counts all tokens.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> None:
        if not tokenizer.is_fast:
            raise DataError(f"{type(tokenizer).__name__} gives no character offsets; a fast tokenizer is needed")
        self.tokenizer = tokenizer
        self.max_length = max_length
        # Asked of the tokenizer itself: an "add_bos_token" attribute is not told what a post-processor does.
        first = tokenizer("a")["input_ids"][:1]
        self.bos: tuple[int, ...] = tuple(first) if first == [tokenizer.bos_token_id] else ()

    def encode(self, prompt: Prompt, completion: str, *, end: bool = False) -> Encoded:
        """Encode ``prompt`` followed by ``completion``; ``end`` appends the end-of-text token.

        Raises :class:`~pretune.errors.PromptTooLong` when even without its body the prompt does not fit: the
        instruction and the completion are never cut.
        """
        return self.encode_many([(prompt, completion)], end=end)[0]

    def encode_many(self, pairs: Sequence[tuple[Prompt, str]], *, end: bool = False) -> list[Encoded]:
        """Encode many (prompt, completion) pairs in one call of the tokenizer."""
        if not pairs:
            return []
        tail = (self._end_id(),) if end else ()
        batch = self.tokenizer(
            [prompt.text + completion for prompt, completion in pairs],
            add_special_tokens=False,
            return_offsets_mapping=True,
            verbose=False,  # too long a sequence is dealt with here
        )
        encoded = []
        for (prompt, completion), ids, offsets in zip(pairs, batch["input_ids"], batch["offset_mapping"], strict=True):
            room = self.max_length - len(self.bos) - len(tail)
            if len(ids) <= room:
                context = boundary(offsets, len(prompt.text))
                encoded.append(self._join(ids, context, tail, cut=0))
            else:
                encoded.append(self._encode_shortened(prompt, completion, room, tail))
        return encoded

    def encode_conversations(self, conversations: Sequence[Sequence[Exchange]]) -> list[Encoded | None]:
        """Encode conversations, each reply followed by the end-of-text token; all replies are spans to be learnt.

        What is too long loses whole exchanges at its end; where not even the first one fits, the result is ``None``: a
        reply is never cut. The end-of-text token divides a text for every tokenizer, so exchanges are tokenised one by
        one.
        """
        flat = [exchange for conversation in conversations for exchange in conversation]
        if not flat:
            return []
        batch = self.tokenizer(
            [exchange.text + exchange.reply for exchange in flat],
            add_special_tokens=False,
            return_offsets_mapping=True,
            verbose=False,
        )
        pieces = iter(zip(flat, batch["input_ids"], batch["offset_mapping"], strict=True))
        return [self._join_exchanges([next(pieces) for _ in conversation]) for conversation in conversations]

    def _join_exchanges(
        self, pieces: Sequence[tuple[Exchange, Sequence[int], Sequence[tuple[int, int]]]]
    ) -> Encoded | None:
        end, ids, spans, cut = self._end_id(), list(self.bos), list[tuple[int, int]](), 0
        for exchange, tokens, offsets in pieces:
            if cut or len(ids) + len(tokens) + 1 > self.max_length:
                cut += len(tokens) + 1
                continue
            start = len(ids) + boundary(offsets, len(exchange.text))
            ids += [*tokens, end]
            spans.append((start, len(ids)))
        return Encoded(ids=tuple(ids), context=spans[0][0], cut=cut, spans=tuple(spans)) if spans else None

    def encode_texts(self, texts: Sequence[str]) -> list[Encoded]:
        """Encode plain texts as documents: between end-of-text tokens (the begin token first, where there is one).

        All but the first token is learnt. Too long a text is cut, and loses the token at its end.
        """
        end = self._end_id()
        lead = self.bos or (end,)
        encoded = []
        for tokens in (
            self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"] if texts else ()
        ):
            ids = (*lead, *tokens, end)
            cut = max(len(ids) - self.max_length, 0)
            encoded.append(Encoded(ids=ids[: self.max_length], context=len(lead), cut=cut))
        return encoded

    def _end_id(self) -> int:
        if self.tokenizer.eos_token_id is None:
            raise DataError("the tokenizer has no end-of-text token, which ends every trained completion")
        return int(self.tokenizer.eos_token_id)

    def _join(self, ids: Sequence[int], context: int, tail: tuple[int, ...], *, cut: int) -> Encoded:
        return Encoded(ids=self.bos + tuple(ids) + tail, context=context + len(self.bos), cut=cut)

    def _encode_shortened(self, prompt: Prompt, completion: str, room: int, tail: tuple[int, ...]) -> Encoded:
        """Cut words off the end of the body until the whole fits into ``room`` tokens."""
        text, whole = prompt.text, None
        if prompt.body is not None:
            start, end_ = prompt.body
            while True:
                batch = self.tokenizer(
                    text + completion, add_special_tokens=False, return_offsets_mapping=True, verbose=False
                )
                ids, offsets = batch["input_ids"], batch["offset_mapping"]
                whole = len(ids) if whole is None else whole
                if len(ids) <= room:
                    return self._join(ids, boundary(offsets, len(text)), tail, cut=whole - len(ids))
                inside = [o for o in offsets if start <= o[0] and o[1] <= end_ and o[1] > o[0]]
                if not inside:
                    break
                excess = min(len(ids) - room, len(inside))
                keep = inside[-excess][0]
                text, end_ = text[:keep] + text[end_:], keep
        raise PromptTooLong(
            f"{prompt.source}a prompt does not fit into {self.max_length} tokens even without its body "
            f"(stage.max_length or the model's context is too small): {prompt.text[:80]!r}…"
        )


def boundary(offsets: Sequence[tuple[int, int]], characters: int) -> int:
    """Index of the first token that reaches beyond ``characters``, the length of the prompt."""
    for index, (_, end) in enumerate(offsets):
        if end > characters:
            return index
    return len(offsets)
