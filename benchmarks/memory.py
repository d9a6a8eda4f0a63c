"""Peak memory of scoring options: pretune and lm-evaluation-harness, a process each, at the same batch.

python benchmarks/memory.py --weights FOLDER [--data nyu-mll/glue rows] [--batch-size 16]

A batch is a number of option sequences; pretune gets as many rows at a time as have that many options. What is given is
the peak above the memory held when model and rows were loaded: of the process on a CPU, of the device's allocator on a
GPU.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from common import peak_memory
from material import ROOT, add_arguments, describe, load_weights
from scoring import COMPARISONS, make_prompts, score_with_harness

from pretune.data.encoding import Encoder
from pretune.data.examples import Prompt
from pretune.evaluation.likelihood import branch_out, encode_options, score_options
from pretune.evaluation.prefix import group_by_prefix
from pretune.modeling import context_length


def measure(side: str, arguments: argparse.Namespace) -> float:
    """MiB at the peak of one side."""
    model, tokenizer = load_weights(arguments)
    encoder = Encoder(tokenizer, max_length=context_length(model) or 2048)
    prompts = make_prompts(arguments, encoder)

    def score(chosen: list[Prompt]) -> None:
        if side == "harness":
            score_with_harness(model, tokenizer, chosen, arguments.batch_size, arguments.device)
        else:
            score_options(model, encoder, chosen, batch_tokens=rows_at_a_time * longest)

    rows_at_a_time = max(arguments.batch_size // len(prompts[0].completions), 1)
    branchings = [row for options in encode_options(encoder, prompts) for row in branch_out(options, encoder)]
    ((shared, _),) = group_by_prefix([branching.trunk for branching in branchings])
    longest = max(branching.length for branching in branchings) - shared
    score(prompts[:2])  # imports, and what is found out about the model, come before
    return peak_memory(lambda: score(prompts), arguments.device)


def main() -> None:
    """Run both sides, a process each; or one side, when told so by itself."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, rows=120)
    parser.add_argument("--comparison", default="few_shot", choices=COMPARISONS)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--side", choices=("pretune", "harness"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(measure(arguments.side, arguments))
        return
    print(describe(arguments))
    peaks = {}
    for side in ("pretune", "harness"):
        command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], "--side", side]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        peaks[side] = float(done.stdout.split()[-1])
    print(
        f"{arguments.comparison}, {arguments.rows} rows, batches of {arguments.batch_size} sequences: peak above what "
        f"was held before: pretune {peaks['pretune']:.0f} MiB, harness {peaks['harness']:.0f} MiB"
    )


if __name__ == "__main__":
    main()
