"""Time of a whole evaluation, start-up included: ``evaluate.py`` and ``lm_eval`` as two processes, same rows and shots.

python benchmarks/whole_evaluation.py --weights FOLDER [--data nyu-mll/glue rows] [--batch-size 4]

pretune runs first and stores its prompts; the harness gets exactly these, shots included, as a task of its own, so it
does not even have to draw shots. Run benchmarks/scoring.py to find the harness's best batch size.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from material import ROOT, add_arguments, compare_scores, describe, find_weights, make_rows

TASK = """
task: pretune_benchmark
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: prompt
doc_to_choice: choices
doc_to_target: gold
target_delimiter: ""
metric_list: [{{metric: acc}}]
metadata: {{version: 1}}
"""


def run(command: list[str], threads: int) -> float:
    """Seconds of a process, which must succeed."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return seconds


def main() -> None:
    """Run both sides and compare their scores row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, rows=1500)
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--batch-size", default="4", help="of the harness")
    arguments = parser.parse_args()
    weights, work = find_weights(arguments), Path(tempfile.mkdtemp(prefix="benchmark-"))
    data = Path(arguments.data).expanduser().resolve() if arguments.data else make_rows("mnli")
    print(describe(arguments))
    accelerator = {"cpu": "cpu", "cuda": "gpu"}[arguments.device]
    ours = run(
        [
            sys.executable, "evaluate.py", "checkpoint=path", f"checkpoint.path={weights}", "task=mnli",
            "task.source=path", f"task.path={data}", f"shots={arguments.shots}", f"eval.limit={arguments.rows}",
            "eval.keep_prompts=true", f"trainer.threads={arguments.threads}", f"trainer.accelerator={accelerator}",
            "logger=none", f"study_dir={work / 'study'}",
        ],
        arguments.threads,
    )  # fmt: skip
    (items_file,) = work.glob("study/runs/evaluate-*/items.parquet")
    items = pd.read_parquet(items_file).query("scorer == 'sum'")
    assert len(items) == arguments.rows
    golds = [
        [choice.strip() for choice in choices].index(gold)
        for choices, gold in zip(items["choices"], items["gold"], strict=True)
    ]
    rows = [
        {"prompt": prompt, "choices": list(choices), "gold": gold}
        for prompt, choices, gold in zip(items["prompt"], items["choices"], golds, strict=True)
    ]
    (work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (work / "task.yaml").write_text(TASK.format(rows=work / "rows.jsonl"))
    theirs = run(
        [
            sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args",
            f"pretrained={weights},dtype=float32",
            "--include_path", str(work), "--tasks", "pretune_benchmark", "--batch_size", arguments.batch_size,
            "--device", arguments.device, "--output_path", str(work / "harness"), "--log_samples",
        ],
        arguments.threads,
    )  # fmt: skip
    (samples_file,) = work.glob("harness/**/samples_*.jsonl")
    samples = sorted(map(json.loads, samples_file.read_text().splitlines()), key=lambda sample: sample["doc_id"])
    reference = [[float(answer[0]) for answer in sample["filtered_resps"]] for sample in samples]
    print(compare_scores([list(scores) for scores in items["scores"]], reference, golds))
    print(
        f"{arguments.shots}-shot MNLI, {arguments.rows} rows, whole processes: pretune {ours:.1f} s, harness "
        f"(batch {arguments.batch_size}) {theirs:.1f} s: {theirs / ours:.1f} times as fast"
    )


if __name__ == "__main__":
    main()
