"""Time of scoring options: pretune and lm-evaluation-harness on the same weights and the same prompts.

python benchmarks/scoring.py few_shot --weights FOLDER [--data nyu-mll/glue rows]
python benchmarks/scoring.py zero_shot --weights FOLDER
python benchmarks/scoring.py choice --weights FOLDER [--data hellaswag rows]

Both sides run in one process, in turn, each with the number of threads given. The harness first tries its batch sizes
on a part of the rows; the fastest is used. Tokenisation is part of the time of both.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

from material import (
    add_arguments,
    clock,
    compare_scores,
    describe,
    draw_rows,
    load_weights,
    read_format,
    read_task,
    spread,
)

from pretune.data.encoding import Encoder
from pretune.data.examples import Prompt
from pretune.evaluation.likelihood import score_options
from pretune.evaluation.prompting import render_fitting
from pretune.modeling import context_length

COMPARISONS = {"few_shot": ("mnli", 4), "zero_shot": ("mnli", 0), "choice": ("hellaswag", 0)}


def make_prompts(arguments: argparse.Namespace, encoder: Encoder) -> list[Prompt]:
    """The prompts of a comparison, the same shots before each."""
    name, shots = COMPARISONS[arguments.comparison]
    task = read_task(name, arguments.data)
    rows = draw_rows(task, task.eval_split, arguments.rows)
    examples = draw_rows(task, str(task.train_split), shots)
    return render_fitting(encoder, rows, task=task, format_=read_format(), shots=examples)[0]


def score_with_harness(model: Any, tokenizer: Any, prompts: list[Prompt], batch: int, device: str) -> list[list[float]]:
    """Log-likelihoods of all options by lm-evaluation-harness."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch, device=device)
    requests = [
        Instance(request_type="loglikelihood", doc={}, arguments=(prompt.text, option), idx=index)
        for prompt in prompts
        for index, option in enumerate(prompt.completions)
    ]
    answers = iter(harness.loglikelihood(requests, disable_tqdm=True))
    return [[next(answers)[0] for _ in prompt.completions] for prompt in prompts]


def main() -> None:
    """Run one comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", choices=COMPARISONS)
    add_arguments(parser, rows=300)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4, 16], help="tried by the harness")
    parser.add_argument("--trial", type=int, default=60, help="rows that the batch sizes are tried on")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    model, tokenizer = load_weights(arguments)
    device = arguments.device
    encoder = Encoder(tokenizer, max_length=context_length(model) or 2048)
    prompts = make_prompts(arguments, encoder)
    print(describe(arguments))
    trials = {}
    for batch in arguments.batch_sizes:
        work = lambda batch=batch: score_with_harness(model, tokenizer, prompts[: arguments.trial], batch, device)  # noqa: E731
        trials[batch] = clock(work, device=device)[0][0]
    best = min(trials, key=trials.__getitem__)
    tried = ", ".join(f"{batch}: {seconds:.2f} s" for batch, seconds in trials.items())
    print(f"harness on {arguments.trial} rows by batch size: {tried}")
    mine, theirs, scores, reference = [], [], [], []
    for _ in range(arguments.repeats):  # in turn, so that a slow minute of the machine meets both
        seconds, scores = clock(lambda: score_options(model, encoder, prompts), device=device)
        mine += seconds
        seconds, reference = clock(lambda: score_with_harness(model, tokenizer, prompts, best, device), device=device)
        theirs += seconds
    golds = [prompt.gold for prompt in prompts]
    print(compare_scores([score.sum for score in scores], reference, golds))
    ratio = statistics.median(theirs) / statistics.median(mine)
    print(
        f"{arguments.comparison}, {len(prompts)} rows, {arguments.repeats} repetitions: pretune {spread(mine)}, "
        f"harness (batch {best}) {spread(theirs)}: {ratio:.1f} times as fast"
    )


if __name__ == "__main__":
    main()
