"""Draw the linear model of overtraining: no checkpoint, no results, a second or two.

python -m pretune.theory
python -m pretune.theory out=figures seed=1

Writes ``theory.csv`` (time, curve, size, value) and three figures into ``out`` (default: ``theory``): singular
directions learnt one after the other, and the pre-training loss under noise of three sizes and after fine-tuning at
three rates.
``seed`` rotates the fine-tuning task. :mod:`pretune.probes.theory` has the formulas.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pretune.errors import UsageError, suggest
from pretune.probes.theory import (
    LinearNetwork,
    Reals,
    find_inflection,
    measure_forgetting,
    measure_loss,
    measure_noise_sensitivity,
)
from pretune.report.axes import LadderAxis, Tick, build_value_axis
from pretune.report.panels import Curve, Panel, Point, draw_panel
from pretune.report.svg import stand_alone

NOISES = (0.02, 0.05, 0.1)
RATES = (0.05, 0.1, 0.2)
DIRECTIONS = (0, 3, 6, 9)
"""Which of the singular directions are drawn."""

KEYS = {"out": "theory", "seed": "0"}
TICKS = (4, 20, 100, 500, 2000)


def tabulate(network: LinearNetwork, times: Reals, *, seed: int) -> pd.DataFrame:
    """Return every curve as rows: ``time, curve, size, value``.

    ``curve`` is ``direction`` (size: its number; the value is σ), ``base``, ``noise`` (size: γ), ``fine-tuning`` (size:
    the rate) or ``fine-tuning task`` (the loss left on that task).
    """
    base = measure_loss(network, times)
    curves = [("direction", float(i), network.learn(times)[:, i]) for i in DIRECTIONS]
    curves.append(("base", 0.0, base))
    curves += [("noise", gamma, base + measure_noise_sensitivity(network, times, gamma)) for gamma in NOISES]
    for rate in RATES:
        forgetting, left = measure_forgetting(network, times, rate, seed=seed)
        curves += [("fine-tuning", rate, base + forgetting), ("fine-tuning task", rate, left)]
    return pd.concat(
        [pd.DataFrame({"time": times, "curve": name, "size": size, "value": values}) for name, size, values in curves],
        ignore_index=True,
    )


def draw(table: pd.DataFrame, kind: str, *, title: str, subtitle: str, sign: str) -> str:
    """Draw the curves of one kind, beside the undisturbed loss where they are losses, as an SVG file's text."""
    shown = table[table["curve"].isin([kind] if kind == "direction" else ["base", kind])]
    times = np.sort(table["time"].unique())
    span = math.log(times[-1] / times[0])
    places = {f"{time:g}": math.log(time / times[0]) / span for time in times}
    ticks = tuple(Tick(at=math.log(tick / times[0]) / span, label=f"{tick:,}") for tick in TICKS)
    curves: list[Curve] = []
    for _, rows in shown.groupby(["curve", "size"], sort=False):
        name, size = str(rows["curve"].iloc[0]), float(rows["size"].iloc[0])
        label = "base" if name == "base" else f"{sign}{size + (kind == 'direction'):g}"
        points = tuple(
            Point(checkpoint=f"{time:g}", value=value, low=math.nan, high=math.nan, hover=f"{label}\n{value:.3f}")
            for time, value in zip(rows["time"], rows["value"], strict=True)
        )
        state, colour = ("base", -1) if name == "base" else ("tuned", len(curves))
        curves.append(Curve(name=label, state=state, colour=colour, shape=len(curves), points=points, label=label))
    axis = build_value_axis(list(shown["value"]), from_zero=True)
    ladder = LadderAxis(title="time of pre-training, logarithmic", places=places, ticks=ticks)
    panel = Panel(title=title, subtitle=subtitle, curves=tuple(curves), ladder=ladder, axis=axis, digits=2, right=62.0)
    return stand_alone(draw_panel(panel))


def read_arguments(arguments: Sequence[str]) -> tuple[Path, int]:
    """Return ``out`` and ``seed``; raise :class:`UsageError` for anything else."""
    values = dict(KEYS)
    for text in arguments:
        key, equals, value = text.partition("=")
        if key not in KEYS:
            raise UsageError(f"{text}: not a key of this command; {suggest(key, KEYS)}")
        if not equals or not value:
            raise UsageError(f"{text}: write {key}=VALUE")
        values[key] = value
    if not values["seed"].isdecimal():
        raise UsageError(f"seed={values['seed']}: not a whole number from 0 on")
    return Path(values["out"]), int(values["seed"])


def main(arguments: Sequence[str]) -> int:
    """Command line of ``python -m pretune.theory``; return the exit status."""
    if any(text in ("-h", "--help") for text in arguments):
        sys.stdout.write(__doc__ or "")
        return 0
    try:
        out, seed = read_arguments(arguments)
    except UsageError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    times = np.geomspace(TICKS[0], TICKS[-1], 28)
    table = tabulate(LinearNetwork(), times, seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / "theory.csv", index=False)
    figures = {
        "direction": ("Directions are learnt one by one", "singular values of the product of the layers", "no. "),
        "noise": ("Pre-training loss under noise", "exact expectation; γ at the right", "γ "),
        "fine-tuning": (
            "Pre-training loss after fine-tuning",
            "10 steps on a misaligned task; rate η at the right",
            "η ",
        ),
    }
    for kind, (title, subtitle, sign) in figures.items():
        text = draw(table, kind, title=title, subtitle=subtitle, sign=sign)
        (out / f"theory-{kind}.svg").write_text(text, encoding="utf-8")
    for _, rows in table[table["curve"].isin(["noise", "fine-tuning"])].groupby(["curve", "size"]):
        inflection = find_inflection(rows["time"].to_numpy(), rows["value"].to_numpy())
        found = "none on this grid" if math.isnan(inflection) else f"time {inflection:.0f}"
        sys.stdout.write(f"{rows['curve'].iloc[0]} {rows['size'].iloc[0]:g}: lowest loss, then a rise: {found}\n")
    sys.stdout.write(f"Written: {out / 'theory.csv'} and {len(figures)} figures\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
