"""One example as a person can check it: the exact text, and the tokens, with what is scored or learnt marked.

``⟦…⟧`` encloses what is scored (in training: learnt); ``⏎`` stands for a line feed, ``·`` for a space (in the text: at
the end of a line only), ``→`` for a tab. Other characters that cannot be seen are written as escapes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from pretune.config.science import Format, Task
from pretune.data.encoding import Encoded, Encoder
from pretune.data.examples import Example, Prompt
from pretune.data.rendering import render, render_conversation
from pretune.evaluation.likelihood import separator_id

OPEN, CLOSE = "⟦", "⟧"
WIDTH = 110
"""Columns of the token view."""


def show_example(
    encoder: Encoder,
    example: Example,
    *,
    task: Task,
    format_: Format,
    shots: Sequence[Example] = (),
    learnt: bool = False,
) -> list[str]:
    """Lines that show ``example`` after ``shots``, as it is evaluated; ``learnt``: as it is trained on."""
    if task.answer == "chat":
        exchanges = render_conversation(example, format_, task)
        (row,) = encoder.encode_conversations([exchanges])
        marked = [(exchange.text, exchange.reply) for exchange in exchanges]
        if row is None:
            return [
                *show_text(marked, end=True),
                "",
                f"too long: the first exchange exceeds {encoder.max_length} tokens",
            ]
        return [*show_text(marked, end=True), "", *show_tokens(encoder, row, learnt=learnt)]
    if task.answer == "language":
        (row,) = encoder.encode_texts([example.target])
        if not learnt:  # a document is read behind the token that separates documents; its end is not scored
            ids = encoder.tokenizer(example.target, add_special_tokens=False, verbose=False)["input_ids"]
            row = Encoded(ids=(separator_id(encoder), *ids), context=1)
        return [*show_text([("", example.target)], end=learnt), "", *show_tokens(encoder, row, learnt=learnt)]
    prompt = render(example, format_, task, shots=shots)
    right = prompt.completions[prompt.gold]
    row = encoder.encode(prompt, right, end=learnt)
    if not row.context and not learnt:
        row = Encoded(ids=(separator_id(encoder), *row.ids), context=1, cut=row.cut)
    lines = [*show_text([(prompt.text, right)], end=learnt), ""]
    if len(prompt.completions) > 1 and not learnt:
        lines += [*show_options(encoder, prompt), ""]
    if task.answer == "generation" and not learnt:
        lines += [f"generated answers end at {visible(prompt.stop, spaces=True) or 'end-of-text'}", ""]
    return lines + show_tokens(encoder, row, learnt=learnt)


def show_text(parts: Iterable[tuple[str, str]], *, end: bool) -> list[str]:
    """The text of (context, scored) pairs; ``end``: the end-of-text token follows what is scored."""
    stop = "‹end›" if end else ""
    text = "".join(f"{visible(context)}{OPEN}{visible(scored)}{stop}{CLOSE}" for context, scored in parts)
    lines = text.split("\n")
    return ["text", *(f"  {line}" for line in lines)]


def show_options(encoder: Encoder, prompt: Prompt) -> list[str]:
    """Every option with its scored tokens; ``*`` marks the right one."""
    lines = ["options"]
    for index, completion in enumerate(prompt.completions):
        row = encoder.encode(prompt, completion)
        mark = "*" if index == prompt.gold else " "
        pieces = "|".join(piece_of(encoder, token) for token in row.completion)
        lines.append(f"  {mark} {OPEN}{visible(completion)}{CLOSE}  {pieces}")
    return lines


def show_tokens(encoder: Encoder, row: Encoded, *, learnt: bool) -> list[str]:
    """All tokens, divided by ``|``, scored ones enclosed; then their ids."""
    scored = set(row.supervised())
    text, inside = "", False
    for position, token in enumerate(row.ids):
        if (position in scored) != inside:
            text += CLOSE if inside else ""
            text += " " if position else ""
            text += "" if inside else OPEN
            inside = not inside
        elif position:
            text += "|"
        text += piece_of(encoder, token)
    text += CLOSE if inside else ""
    cut = f", {row.cut} cut to fit into {encoder.max_length}" if row.cut else ""
    heading = f"tokens: {len(row.ids)}, {len(scored)} of them {'learnt' if learnt else 'scored'}{cut}"
    ids = textwrap.wrap(" ".join(map(str, row.ids)), WIDTH)
    return [heading, *(f"  {line}" for line in split_pieces(text)), "ids", *(f"  {line}" for line in ids)]


def split_pieces(text: str) -> list[str]:
    """Break the token view into lines, between tokens where possible."""
    lines = []
    while len(text) > WIDTH:
        place = max(text.rfind("|", 1, WIDTH), text.rfind(" ", 1, WIDTH - 1))
        place = place + 1 if place > 0 else WIDTH
        lines.append(text[:place].rstrip(" "))
        text = text[place:]
    return [*lines, text]


def piece_of(encoder: Encoder, token: int) -> str:
    """A token as text; half a character (of a byte-level vocabulary) as the vocabulary spells it."""
    tokenizer = encoder.tokenizer
    if token == tokenizer.eos_token_id:
        return "‹end›"
    text = str(tokenizer.decode([token], clean_up_tokenization_spaces=False))
    spelt = str(tokenizer.convert_ids_to_tokens(token))
    if not text or "\ufffd" in text:
        return visible(spelt, spaces=True)
    if spelt.startswith("▁") and not text.startswith(" "):  # a decoder drops the space of a text's first word
        text = f" {text}"
    return visible(text, spaces=True)


def visible(text: str, *, spaces: bool = False) -> str:
    """``text`` with marks for what cannot be seen; line feeds are kept behind their mark unless ``spaces``."""
    shown = []
    for character in text:
        if character == "\n":
            shown.append("⏎" if spaces else "⏎\n")
        elif character == "\t":
            shown.append("→")
        elif character == " ":
            shown.append("·" if spaces else " ")
        else:
            shown.append(character if character.isprintable() else character.encode("unicode_escape").decode())
    joined = "".join(shown)
    if spaces:
        return joined
    return "\n".join(mark_trailing(line) for line in joined.split("\n"))


def mark_trailing(line: str) -> str:
    """Spaces at the end of a line (before its mark) as dots: nothing else shows them."""
    mark = "⏎" if line.endswith("⏎") else ""
    body = line.removesuffix("⏎")
    kept = body.rstrip(" ")
    return kept + "·" * (len(body) - len(kept)) + mark
