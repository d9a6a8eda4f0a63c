"""Formats: from an example to the words that a model reads and those that it must answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Formatter

from pretune.config.science import Format, Task, Template
from pretune.data.examples import ASSISTANT, Example, Exchange, Prompt
from pretune.errors import DataError, suggest


def choose_template(format_: Format, task: Task) -> Template:
    """Return the template of ``task``'s family, or say which families the format knows."""
    try:
        return format_.templates[task.family]
    except KeyError:
        raise DataError(
            f"format={format_.name}: no template for family '{task.family}' of task '{task.name}'; "
            + suggest(task.family, format_.templates)
        ) from None


def fill(pattern: str, fields: Mapping[str, str], body: str | None = None) -> tuple[str, tuple[int, int] | None]:
    """Fill ``{name}`` fields into ``pattern``; return the text and the character span of field ``body``.

    Field values are inserted verbatim: braces inside them mean nothing.
    """
    text, span = "", None
    for literal, name, _, _ in Formatter().parse(pattern):
        text += literal
        if name is None:
            continue
        if name not in fields:
            raise DataError(f"template field {{{name}}} is unknown; {suggest(name, fields)}")
        start = len(text)
        text += fields[name]
        if name == body:
            span = (start, len(text))
    return text, span


def render(example: Example, format_: Format, task: Task, *, shots: Sequence[Example] = ()) -> Prompt:
    """Put ``example`` into words in ``format_``, after ``shots`` worked examples with their answers.

    Each option (or the target) becomes one completion that follows the prompt verbatim, with its leading space
    or newline: prompts never end in a space, so that prompt and completion tokenise as in training.
    """
    template = choose_template(format_, task)
    lead = ""
    for shot in shots:
        shot_text, _ = fill(template.prompt, shot.fields, template.body)
        answer, _ = fill(template.completion, {**shot.fields, "answer": shot.target})
        lead += shot_text + answer + format_.separator
    text, body = fill(template.prompt, example.fields, template.body)
    if body is not None:
        body = (body[0] + len(lead), body[1] + len(lead))
    answers = example.options or (example.target,)
    completions = tuple(fill(template.completion, {**example.fields, "answer": answer})[0] for answer in answers)
    return Prompt(
        text=lead + text,
        completions=completions,
        gold=0 if example.gold is None else example.gold,
        body=body,
        stop=template.stop,
        source=f"task={task.name}, row {example.id}: ",
    )


def render_conversation(example: Example, format_: Format, task: Task) -> list[Exchange]:
    """Put a conversation into words: one exchange for each reply, with all that was said since the reply before.

    Every reply is followed by the end-of-text token, which the encoder adds; the template's ``after`` begins the next
    exchange.
    """
    template = choose_template(format_, task)
    exchanges: list[Exchange] = []
    text = ""
    for turn in example.turns:
        if turn.role == ASSISTANT:
            reply, _ = fill(template.completion, {"answer": turn.text})
            exchanges.append(Exchange(text=text + template.prompt, reply=reply))
            text = template.after
        elif turn.role in template.turns:
            text += fill(template.turns[turn.role], {"content": turn.text})[0]
        else:
            raise DataError(
                f"format={format_.name}: has no words for a turn of role '{turn.role}' in family '{task.family}'; "
                + suggest(turn.role, template.turns)
            )
    return exchanges
