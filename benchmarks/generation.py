"""Time of greedy answers: pretune and ``transformers.generate`` in equal batches, on few-shot summaries.

python benchmarks/generation.py --weights FOLDER [--data EdinburghNLP/xsum rows] [--batch-rows 16]

Both sides sort prompts by length and stop at the end of a line. For transformers the faster of two ways is taken: its
stop strings, or decoding to the end and cutting afterwards. Documents are short enough for four of them, with their
summaries, and the document in question to fit into a context of 1,024 tokens.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import Any

from material import add_arguments, clock, describe, draw_rows, load_weights, read_format, read_task, spread

from pretune.data.encoding import Encoder
from pretune.data.examples import Prompt
from pretune.evaluation.generation import generate_answers
from pretune.evaluation.prompting import render_fitting
from pretune.modeling import context_length


def generate_with_transformers(
    model: Any, tokenizer: Any, prompts: list[Prompt], batch_rows: int, new_tokens: int, stops: bool
) -> list[str]:
    """Answers by ``model.generate``, longest prompts first."""
    tokenizer.padding_side = "left"
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index].text))
    answers = [""] * len(prompts)
    options = {"stop_strings": [prompts[0].stop], "tokenizer": tokenizer} if stops else {}
    for start in range(0, len(order), batch_rows):
        chosen = order[start : start + batch_rows]
        inputs = tokenizer([prompts[index].text for index in chosen], return_tensors="pt", padding=True)
        inputs.pop("token_type_ids", None)
        output = model.generate(
            **inputs.to(model.device), do_sample=False, max_new_tokens=new_tokens,
            pad_token_id=tokenizer.pad_token_id, **options,
        )  # fmt: skip
        texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        for index, text in zip(chosen, texts, strict=True):
            answers[index] = text.partition(prompts[index].stop)[0].strip()
    return answers


def main() -> None:
    """Run both sides in turn and compare their texts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, rows=64)
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--batch-rows", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=60)
    parser.add_argument("--words", type=int, default=110, help="longest document")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    model, tokenizer = load_weights(arguments)
    encoder = Encoder(tokenizer, max_length=context_length(model) or 2048)
    task = read_task("xsum", arguments.data)
    rows = draw_rows(task, task.eval_split, arguments.rows, words=arguments.words)
    shots = draw_rows(task, str(task.train_split), arguments.shots, words=arguments.words)
    prompts, dropped = render_fitting(
        encoder, rows, task=task, format_=read_format(), shots=shots, reserve=arguments.new_tokens
    )
    print(describe(arguments))
    if any(dropped):
        print(f"{sum(count > 0 for count in dropped)} prompts lost shots")
    mine: list[float] = []
    others: dict[bool, list[float]] = {False: [], True: []}
    answers: list[str] = []
    for _ in range(arguments.repeats):
        seconds, answers = clock(
            lambda: generate_answers(
                model, encoder, prompts, max_new_tokens=arguments.new_tokens, batch_rows=arguments.batch_rows
            ),
            device=arguments.device,
        )
        mine += seconds
        for stops, taken in others.items():
            seconds, theirs = clock(
                lambda stops=stops: generate_with_transformers(
                    model, tokenizer, prompts, arguments.batch_rows, arguments.new_tokens, stops
                ),
                device=arguments.device,
            )
            taken += seconds
            different = sum(a != b for a, b in zip(answers, theirs, strict=True))
            if different:
                sys.exit(f"{different} of {len(prompts)} texts differ")
    stops = min(others, key=lambda stops: statistics.median(others[stops]))
    print(
        f"{arguments.shots}-shot summaries, {len(prompts)} rows, batches of {arguments.batch_rows}, "
        f"{arguments.repeats} repetitions, same texts: pretune {spread(mine)}, transformers.generate "
        f"({'stop strings' if stops else 'cut afterwards'}) {spread(others[stops])}: "
        f"{statistics.median(others[stops]) / statistics.median(mine):.1f} times as fast"
    )


if __name__ == "__main__":
    main()
