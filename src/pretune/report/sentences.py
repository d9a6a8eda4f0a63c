"""The answer of the first screen: five sentences with numbers and certainty, all of them from tables of the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pretune.analysis import reading as classes
from pretune.analysis.metrics import label_metric, points_per_unit
from pretune.analysis.series import CURVE
from pretune.report import fragility
from pretune.report.curves import records
from pretune.report.fragility import Fragility, say_briefly
from pretune.report.results import Results
from pretune.report.wording import is_null, join_words, write_number

MOST_NAMED = 4
MOST_FAMILIES = 3
Rows = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One sentence about a model under a short heading; ``sure`` says how certain it is."""

    family: str
    heading: str
    text: str
    sure: str = ""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The tables of one model that the sentences are made from; annealed and un-annealed checkpoints never mixed."""

    dichotomy: pd.DataFrame
    apart: pd.DataFrame
    """The classes by the other, shorter curve: as a rule that of the one annealed checkpoint at the end."""
    trends: pd.DataFrame
    latent: pd.DataFrame
    gains: pd.DataFrame
    transfer: pd.DataFrame
    forgetting: pd.DataFrame
    formats: pd.DataFrame
    noise: pd.DataFrame
    checkpoints: pd.DataFrame
    fragility: Fragility


def state_findings(results: Results) -> list[Finding]:
    """Answer the five questions of the page for each model (the first :data:`MOST_FAMILIES`).

    A model that was only probed has five questions of its own (:mod:`pretune.report.fragility`).
    """
    families = [str(name) for name in results.checkpoints["family"].unique()]
    findings = []
    for family in families[:MOST_FAMILIES]:
        evidence = _gather(results, family)
        told = (
            [(heading, *say(evidence.fragility)) for heading, say in fragility.QUESTIONS]
            if _has_probes_alone(evidence)
            else [(heading, *say(evidence)) for heading, say in QUESTIONS]
        )
        for heading, text, sure in told:
            findings.append(Finding(family=family, heading=heading, text=text, sure=sure))
    return findings


def _has_probes_alone(evidence: Evidence) -> bool:
    return evidence.noise.empty and evidence.forgetting.empty and len(evidence.fragility.curves) > 0


def _gather(results: Results, family: str) -> Evidence:
    def own(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["family"] == family]

    dichotomy = own(results.find("dichotomy"))
    longest = _longest(dichotomy, ["eval_task", "setting"])
    return Evidence(
        dichotomy=longest,
        apart=dichotomy[~dichotomy.index.isin(longest.index)],
        trends=_longest(own(results.find("trends")), ["state", "eval_task", "train_task", "setting", "metric"]),
        latent=_longest(own(results.find("latent_gains")), ["eval_task", "setting"]),
        gains=own(results.find("gains")),
        transfer=own(results.transfer),
        forgetting=own(results.forgetting),
        formats=own(results.formats),
        noise=_longest(own(results.find("noise")), [name for name in CURVE if name != "annealed"]),
        checkpoints=own(results.checkpoints),
        fragility=Fragility(
            damages=_of_probes(own(results.damages)),
            sensitivity=_of_probes(own(results.find("sensitivity"))),
            inflections=_of_probes(own(results.find("inflections"))),
            curves=_of_probes(own(results.curves)),
            checkpoints=own(results.checkpoints),
        ),  # fmt: skip
    )


def _of_probes(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["probe"].notna()]


def _longest(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Keep, of annealed and un-annealed checkpoints, the curve with more of them."""
    ordered = frame.sort_values("checkpoints", ascending=False, kind="stable")
    return ordered.drop_duplicates(keys).sort_index()


def _name(row: dict[str, Any]) -> str:
    return str(row["eval_task"]) + (f" [{row['setting']}]" if row["setting"] else "")


def _list(items: list[str]) -> str:
    if len(items) > MOST_NAMED + 1:
        items = [*items[:MOST_NAMED], f"{len(items) - MOST_NAMED} more"]
    return join_words(items)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _points(value: object, *, signed: bool = False) -> str:
    return write_number(None if is_null(value) else float(value) * 100, signed=signed)  # type: ignore[arg-type]


def _are_shares(frame: pd.DataFrame) -> pd.Series:
    """Mark the rows whose metric goes from 0 to 1."""
    return frame["metric"].map(lambda name: points_per_unit(str(name)) == 100).astype(bool)


def _of_class(evidence: Evidence, name: str) -> Rows:
    return records(evidence.dichotomy[evidence.dichotomy["class"] == name])


def _say_pretraining(evidence: Evidence) -> tuple[str, str]:
    total = len(evidence.dichotomy)
    if not total:
        return "No task has a score between 0 and 1 that could be classed.", ""
    rows = _of_class(evidence, classes.PRETRAINING)
    both = _of_class(evidence, classes.BOTH)
    if not rows and not both:
        seen = int(evidence.dichotomy["checkpoints"].max())
        if seen < 2:
            return "With one checkpoint nothing can be said about what pre-training changes.", ""
        risen = evidence.dichotomy["rise_units"].max()
        sure = "" if is_null(risen) else f"Largest rise of a base score: {write_number(risen)} times its noise."
        return f"None of {_count(total, 'task')} is clearly learnt in pre-training alone.", sure
    parts = [f"{_name(row)} {_points(row['base_first'])} → {_points(row['base_end'])}" for row in [*rows, *both]]
    text = (
        f"Without fine-tuning the base model rises clearly on {len(parts)} of {_count(total, 'task')}: {_list(parts)}"
    )
    if both:
        text += f" (fine-tuning adds to {_list([_name(row) for row in both])})"
    units = [float(row["rise_units"]) for row in [*rows, *both] if not is_null(row["rise_units"])]
    least = f"The smallest of these rises is {write_number(min(units))} times its noise" if units else ""
    untuned = [_name(row) for row in rows if is_null(row["gain"])]
    rest = f"; {_list(untuned)} {'was' if len(untuned) == 1 else 'were'} not fine-tuned on" if untuned else ""
    return text + ".", least + rest + "." if least else ""


def _say_fine_tuning(evidence: Evidence) -> tuple[str, str]:
    tuned = evidence.dichotomy[evidence.dichotomy["gain"].notna()]
    if tuned.empty:
        return "No task was fine-tuned on and evaluated, so what fine-tuning adds is unknown.", ""
    needs = [f"{_name(row)} {_points(row['gain'], signed=True)}" for row in _of_class(evidence, classes.FINE_TUNING)]
    if needs:
        text = (
            f"Fine-tuning teaches {len(needs)} of {_count(len(tuned), 'task')} that the base model lacks; at the end "
            f"of pre-training it adds, in points: {_list(needs)}"
        )
    else:
        text = f"None of the {_count(len(tuned), 'task')} fine-tuned on clearly needs fine-tuning"
    neither = [_name(row) for row in _of_class(evidence, classes.NEITHER)]
    text += f"; neither helps on {_list(neither)}" if neither else ""
    text += _say_apart(evidence)
    own = evidence.gains[(evidence.gains["train_task"] == evidence.gains["eval_task"]).fillna(False)]
    clear = int((own["p_holm"] < 0.05).sum())
    sure = (
        f"{clear} of {_count(len(own), 'gain')} on the task itself (all checkpoints) differ from zero at 5 % after "
        "correction for all gains tested"
    )
    open_ones = [_name(row) for row in _of_class(evidence, classes.UNDECIDED)]
    return text + ".", sure + (f"; undecided: {_list(open_ones)}" if open_ones else "") + "."


def _say_apart(evidence: Evidence) -> str:
    """What the shorter curve adds: tasks that need fine-tuning by it alone. Never pooled, but not kept silent."""
    known = {_name(row) for row in _of_class(evidence, classes.FINE_TUNING)}
    rows = records(evidence.apart[evidence.apart["class"] == classes.FINE_TUNING])
    gains = [f"{_name(row)} {_points(row['gain'], signed=True)}" for row in rows if _name(row) not in known]
    if not gains:
        return ""
    one = max(int(row["checkpoints"]) for row in rows) == 1
    where = f"the {rows[0]['annealed']} checkpoint" if one else f"the {rows[0]['annealed']} checkpoints"
    return f"; on {where}, read apart, it adds {_list(gains)}"


def _say_when(evidence: Evidence) -> tuple[str, str]:
    trends = evidence.trends
    tuned = trends[(trends["train_task"] == trends["eval_task"]).fillna(False)]
    curves, words = (tuned, "the tuned score") if len(tuned) else (trends[trends["state"] == "base"], "the base score")
    shapes: dict[str, Rows] = {
        str(shape): records(part) for shape, part in curves.groupby("shape", sort=False) if len(part)
    }
    if not set(shapes) - {"not enough data"}:
        count = len(evidence.checkpoints)
        if count < 2:
            return "With one checkpoint nothing can be said about when to stop pre-training.", ""
        return f"{_count(count, 'checkpoint')} are too few to say when more pre-training stops helping.", ""
    parts = []
    if "plateau" in shapes:
        places = [f"{_name(row)} {_say_interval(row)}" for row in shapes["plateau"]]
        parts.append(f"{words} levels off on {_list(places)}")
    if "no plateau yet" in shapes:
        names = _list([_name(row) for row in shapes["no plateau yet"]])
        parts.append(f"{'it' if parts else words} has not levelled off by the last checkpoint on {names}")
    if "flat" in shapes:
        parts.append(f"{'it' if parts else words} is flat throughout on {_list([_name(r) for r in shapes['flat']])}")
    left = [_name(row) for shape in ("undecided", "not enough data") for row in shapes.get(shape, [])]
    text = join_words(parts) if parts else f"whether {words} levels off is undecided on {_list(left)}"
    latent = _list([_name(row) for row in records(evidence.latent[evidence.latent["latent"] == "yes"])])
    sure = "Between two checkpoints nothing was measured: an onset is that whole interval."
    if latent:
        sure += f" Latent gain (the tuned score grows, the base score does not): {latent}."
    if parts and left:
        sure += f" Undecided: {_list(left)}."
    return text[0].upper() + text[1:] + ".", sure


def _say_interval(row: dict[str, Any]) -> str:
    after, by = row["onset_after"], row["onset_by"]
    if is_null(after) or is_null(by):
        return f"by {by}" if not is_null(by) else "at an unknown place"
    return f"(between {after} and {by})" if after != by else f"(at {by})"


def _say_cost(evidence: Evidence) -> tuple[str, str]:
    other = evidence.transfer[
        _are_shares(evidence.transfer) & (evidence.transfer["relation"] == "cross_task").fillna(False)
    ]
    parts, sure = [], ""
    if len(other):
        last = other[other["position"] == other["position"].max()]
        place = last["checkpoint"].iloc[0]
        low, high = last.loc[last["difference"].idxmin()], last.loc[last["difference"].idxmax()]
        parts.append(
            f"at {place} fine-tuning on one task moves scores on others by "
            f"{write_number(last['difference'].mean(), signed=True)} points on average, from "
            f"{write_number(low['difference'], signed=True)} ({low['train_task']} → {low['eval_task']}) to "
            f"{write_number(high['difference'], signed=True)} ({high['train_task']} → {high['eval_task']})"
        )
        tests = evidence.gains[(evidence.gains["relation"] == "cross_task") & (evidence.gains["checkpoint"] == place)]
        known = tests["p_holm"].notna()
        sure = (
            f"{int((tests['p_holm'] < 0.05).sum())} of these {int(known.sum())} changes differ from zero at 5 % after "
            "correction for all gains tested."
        )
    text = _say_text(evidence.forgetting)
    if text:
        parts.append(text)
    if not parts:
        return "What fine-tuning costs on other tasks and on pre-training text was not measured.", ""
    joined = ", and ".join(parts)
    return joined[0].upper() + joined[1:] + ".", sure


def _say_text(forgetting: pd.DataFrame) -> str:
    rows = forgetting.dropna(subset=["change"])
    if rows.empty:
        return ""
    last = rows[rows["position"] == rows["position"].max()]
    first = rows[rows["position"] == rows["position"].min()]
    unit = label_metric(str(last["metric"].iloc[0])).partition(", ")[2] or "units"
    text = f"changes the loss on pre-training text by {write_number(last['change'].mean(), 2, signed=True)} {unit}"
    if first["position"].iloc[0] != last["position"].iloc[0]:
        text += f" ({write_number(first['change'].mean(), 2, signed=True)} at {first['checkpoint'].iloc[0]})"
    return f"on average it {text}"


def _say_fragile(evidence: Evidence) -> tuple[str, str]:
    formats = evidence.formats
    tuned = formats[_are_shares(formats) & formats["spread"].notna() & (formats["state"] == "tuned")]
    curves = evidence.noise[_are_shares(evidence.noise)]
    floors = curves["smallest_difference"].dropna().astype(float) * 100
    if tuned.empty:
        text = "How much the prompt format matters to tuned models was not measured"
    else:
        means = tuned.groupby("position")["spread"].mean() * 100
        names = tuned.drop_duplicates("position").set_index("position")["checkpoint"]
        first, last = means.index.min(), means.index.max()
        text = (
            f"The wording of the prompt moves a tuned score by {write_number(means[last])} points at {names[last]} "
            f"(best − worst of {int(tuned['formats'].max())} formats, mean over tasks)"
        )
        text += f", against {write_number(means[first])} at {names[first]}" if first != last else ""
    disturbed = say_briefly(evidence.fragility)
    if disturbed:
        text = disturbed[0].upper() + disturbed[1:] if tuned.empty else f"{text}; {disturbed}"
    if len(floors):
        text += (
            f"; a difference of two scores is noise below {write_number(floors.median())} points for the median curve"
        )
        middle = [write_number(floors.quantile(share)) for share in (0.25, 0.75)]
        text += "" if len(floors) < 4 else f" (middle half of all curves: {middle[0]} to {middle[1]})"
    unknown = evidence.noise["run_basis"].astype(str).str.startswith("unknown").mean() if len(evidence.noise) else 0
    scatter = evidence.noise["run_basis"].astype(str).str.contains("scatter").mean() if len(evidence.noise) else 0
    sure = ""
    if unknown > 0.5:
        sure = "The luck of a training run is not in this noise: one seed, and too few checkpoints to see it."
    elif scatter > 0.5:
        sure = "With one seed, the luck of a run is judged by the scatter between neighbouring checkpoints."
    return text + ".", sure


QUESTIONS: tuple[tuple[str, Callable[[Evidence], tuple[str, str]]], ...] = (
    ("Learnt in pre-training", _say_pretraining),
    ("Learnt by fine-tuning", _say_fine_tuning),
    ("When it stops improving", _say_when),
    ("What it costs", _say_cost),
    ("How fragile, how sure", _say_fragile),
)
