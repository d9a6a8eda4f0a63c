"""What disturbed models say, in sentences: how large the damage is, whether it grows, where it turns."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from pretune.analysis.metrics import label_metric, points_per_unit
from pretune.report.curves import records
from pretune.report.overtraining import SCORES, WORSENS, say_size
from pretune.report.wording import is_null, join_words, shorten, write_interval, write_number, write_p

MORE, LESS = "more sensitive", "less sensitive"


@dataclass(frozen=True, kw_only=True)
class Fragility:
    """The tables of one model that these sentences are made from: probe rows of all of them, no fine-tuning."""

    damages: pd.DataFrame
    sensitivity: pd.DataFrame
    inflections: pd.DataFrame
    curves: pd.DataFrame
    checkpoints: pd.DataFrame

    @property
    def main(self) -> pd.DataFrame:
        """The fits of the disturbance that speaks for all: the first metric, the probe with the most sizes,
        of several the one that does the most damage.

        Of annealed and un-annealed checkpoints the more numerous.
        """
        fits: pd.DataFrame = self.sensitivity[self.sensitivity["checkpoints"] == self.sensitivity["checkpoints"].max()]
        if fits.empty:
            return fits
        keys = ["probe", "probe_variant", "eval_task", "metric", "state", "train_task", "lr", "annealed"]
        sizes = fits.groupby(keys, dropna=False, sort=False)["magnitude"].transform("size")
        found = fits[sizes == sizes.max()]
        number = found.groupby(keys, dropna=False, sort=False).ngroup()
        alike = found[found["metric"] == found["metric"].iloc[0]]
        worst = alike["last"].astype(float).fillna(float("-inf")).idxmax()
        chosen: pd.DataFrame = found[number == number.loc[worst]].sort_values("magnitude", kind="stable")
        return chosen


def say_disturbed(evidence: Fragility) -> tuple[str, str]:
    """What was disturbed, with what, at which checkpoints."""
    curves, places = evidence.curves, evidence.checkpoints
    kinds = []
    for probe, rows in curves.groupby("probe", sort=False):
        sizes = sorted(float(size) for size in rows["magnitude"].dropna().unique() if size)
        what = join_words([say_size(str(probe), size) for size in sizes[:6]]) if sizes else ""
        kinds.append(f"{probe} ({what})" if what else str(probe))
    tokens = places["tokens"].dropna()
    span = f" from {shorten(tokens.min())} to {shorten(tokens.max())} tokens" if len(tokens) > 1 else ""
    number = len(places)
    subject = "1 checkpoint was" if number == 1 else f"{number} checkpoints{span} were"
    return (
        f"{subject} probed: {join_words(kinds)}.",
        "No model was evaluated as it is or fine-tuned, so the page cannot say what was learnt.",
    )


def say_damage(evidence: Fragility) -> tuple[str, str]:
    """How large the damage is at the end of pre-training."""
    main = evidence.main
    if main.empty:
        return "None of the probes measures a damage: what they show is in the figures, without judgement.", ""
    parts, sure = [], ""
    for row in records(main.iloc[[0, -1]] if len(main) > 1 else main):
        parts.append(f"{_write(row, 'last')} under {_name(row)}")
        last = _last(evidence.damages, row)
        if last is not None and not is_null(last["damage_low"]):
            scale, digits = points_per_unit(str(row["metric"])), _digits(row)
            interval = write_interval(last["damage_low"] * scale, last["damage_high"] * scale, digits)
            sure = f"95 % at {_name(row)}: {interval}, over evaluated rows and seeds."
    first = records(main)[0]
    end = _last(evidence.damages, first)
    place = evidence.checkpoints["checkpoint"].iloc[-1] if end is None else end["checkpoint"]
    about = "" if is_null(first["eval_task"]) else f" on {first['eval_task']}"
    name, unit = _split(first)
    return f"At {place} the {name}{about} is {join_words(parts)}{unit}.", sure


def say_growth(evidence: Fragility) -> tuple[str, str]:
    """Whether the same disturbance does more damage later on."""
    main = evidence.main
    if main.empty:
        return "Whether models become more fragile with pre-training was not measured.", ""
    if (main["finding"] == "not enough data").all():
        return "There are too few checkpoints to say whether the damage grows with pre-training.", ""
    rows = records(main)
    grown = [row for row in rows if row["finding"] == MORE]
    shrunk = [row for row in rows if row["finding"] == LESS]
    open_ones = [row for row in rows if row not in grown and row not in shrunk]
    parts = []
    if grown:
        strong = grown[-1]
        parts.append(
            f"the damage grows with pre-training at {_count(grown, rows)}: {_name(strong)} from "
            f"{_write(strong, 'first')} to {_write(strong, 'last')}"
        )
    if shrunk:
        parts.append(f"it shrinks with pre-training at {_count(shrunk, rows)} ({_list(shrunk)})")
    if open_ones:
        where = "any size" if len(open_ones) == len(rows) else _count(open_ones, rows)
        parts.append(f"no trend is shown at {where} ({_list(open_ones)})")
    text = join_words(parts)
    known = [float(row["p_holm"]) for row in [*grown, *shrunk] if not is_null(row["p_holm"])]
    total = len(evidence.sensitivity)
    sure = f"Largest of their p-values, corrected for {total} fits: {write_p(max(known))}." if known else ""
    return text[0].upper() + text[1:] + ".", sure


def say_turn(evidence: Fragility) -> tuple[str, str]:
    """From where on more pre-training makes the disturbed model worse."""
    scores = evidence.inflections[evidence.inflections["metric"].isin(SCORES)]
    scores = scores[scores["finding"] != "not enough data"]
    if scores.empty:
        return "Where more pre-training makes a disturbed model worse cannot be said from so few points.", ""
    rows = records(scores)
    worse = [row for row in rows if row["finding"] == WORSENS]
    if not worse:
        return f"No disturbed score is shown to get worse with more pre-training ({len(rows)} curves tested).", (
            "A fall within the noise cannot be seen.")  # fmt: skip
    parts = []
    for row in worse[:3]:
        between = f"between {row['inflection_after']} and {row['inflection_by']}"
        parts.append(f"{_split(row)[0]} under {_name(row)}, which turns {between}")
    more = f", and {len(worse) - 3} more" if len(worse) > 3 else ""
    text = f"More pre-training makes {len(worse)} of {len(rows)} disturbed curves worse: {'; '.join(parts)}{more}."
    return text, f"Largest corrected p-value of these: {write_p(max(float(row['p_holm']) for row in worse))}."


def say_certainty(evidence: Fragility) -> tuple[str, str]:
    """What the intervals rest on."""
    rows = evidence.curves[evidence.curves["magnitude"].fillna(0).astype(float) > 0]
    seeds = rows["seeds"].dropna()
    if seeds.empty:
        return "The probes have no seeds of their own: intervals are over evaluated rows, where there are any.", ""
    few, many = int(seeds.min()), int(seeds.max())
    number = f"{few}" if few == many else f"{few} to {many}"
    text = f"Each disturbed value is a mean over {number} seed{'' if many == 1 else 's'} of the disturbance."
    if many == 1:
        text = "Each disturbance was drawn once, so its luck is not in the intervals."
    return text, "Checkpoints of one pre-training run are not independent of each other."


def say_briefly(evidence: Fragility) -> str:
    """One clause on the damage and whether it grows; empty when there is none."""
    main = evidence.main
    if main.empty or (main["finding"] == "not enough data").all():
        return ""
    row = records(main)[-1]
    words = {MORE: "more", LESS: "less"}.get(str(row["finding"]))
    about = "" if is_null(row["eval_task"]) else f" on {row['eval_task']}"
    change = f"{_write(row, 'first')} at first and {_write(row, 'last')} at the end"
    grows = f", {words} with pre-training" if words else ""
    name, unit = _split(row)
    return f"under {_name(row)} the {name}{about} is {change}{unit}{grows}"


def _split(row: dict[str, object]) -> tuple[str, str]:
    """Return the name of the measure, and its unit in brackets."""
    name, _, unit = label_metric(str(row["metric"])).partition(", ")
    return name, f" ({unit})" if unit else ""


def _name(row: dict[str, object]) -> str:
    kind = " ".join(str(row[name]) for name in ("probe", "probe_variant") if not is_null(row[name]))
    return kind if is_null(row["magnitude"]) else f"{kind} {say_size(str(row['probe']), row['magnitude'])}"


def _list(rows: list[dict[str, object]]) -> str:
    return join_words([say_size(str(row["probe"]), row["magnitude"]) for row in rows])


def _count(some: list[dict[str, object]], every: list[dict[str, object]]) -> str:
    if len(some) == len(every):
        return "the one size tried" if len(every) == 1 else f"all {len(every)} sizes"
    return f"{len(some)} of {len(every)} sizes"


def _digits(row: dict[str, object]) -> int:
    return 1 if points_per_unit(str(row["metric"])) == 100 else 3


def _write(row: dict[str, object], name: str) -> str:
    return write_number(float(row[name]) * points_per_unit(str(row["metric"])), _digits(row), signed=True)  # type: ignore[arg-type]


def _last(damages: pd.DataFrame, row: dict[str, object]) -> pd.Series | None:
    own = damages[(damages["disturbance"] == row["disturbance"]) & (damages["metric"] == row["metric"])]
    own = own[(own["eval_task"] == row["eval_task"]).fillna(False) | own["eval_task"].isna()]
    own = own[(own["annealed"] == row["annealed"]).fillna(False)]
    return None if own.empty else own.sort_values("position", kind="stable").iloc[-1]


QUESTIONS = (
    ("What was disturbed", say_disturbed),
    ("How much damage", say_damage),
    ("Whether it grows", say_growth),
    ("Where it turns", say_turn),
    ("How sure", say_certainty),
)
