"""The list of all analyses: what each asks, how, with which caveats. Adding an analysis is adding an entry here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from pretune.analysis import dichotomy, gains, noise, trends
from pretune.analysis.inputs import Inputs
from pretune.errors import suggest

AMURO_CHAR = "Sun & Dredze, Amuro & Char (arXiv 2408.06663)"
OVERTRAINED = "Springer et al., Overtrained Language Models Are Harder to Fine-Tune (arXiv 2503.19206)"


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """One analysis: ``compute`` turns :class:`Inputs` into a table with exactly the keys of ``columns``.

    ``name`` is the table's file name; ``columns`` says what each column means; ``method`` includes the assumptions;
    ``needs`` completes "not enough data because the table has no …".
    """

    name: str
    title: str
    question: str
    method: str
    caveats: tuple[str, ...]
    needs: str
    source: str
    columns: Mapping[str, str]
    compute: Callable[[Inputs], pd.DataFrame]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an analysis found: its table, and ``note`` instead when there was not enough data for a single row."""

    analysis: Analysis
    table: pd.DataFrame
    note: str = ""


CATALOGUE: tuple[Analysis, ...] = (
    Analysis(
        name="noise",
        title="Noise floor",
        question="How large must a difference be before it is worth reading?",
        method="Items (bootstrap intervals), training seeds and near-identical checkpoints (pooled variance), and the "
        "scatter of points about the line through their neighbours; combined as run_basis says. Assumes equal noise "
        "along a curve.",
        caveats=(
            "With one seed and fewer than five checkpoints the luck of a training run is not in it.",
            "It is about two single scores that were picked beforehand, not about the largest of many differences.",
        ),
        needs="base or tuned scores",
        source="Bouthillier et al., Accounting for Variance in Machine Learning Benchmarks (arXiv 2103.03098)",
        columns=noise.NOISE,
        compute=lambda inputs: inputs.noise,
    ),
    Analysis(
        name="trends",
        title="Trend and plateau",
        question="Does a score change with pre-training, and from where on does it not any more?",
        method="Mann–Kendall, exact with ties, Holm-corrected; Theil–Sen slope. Plateau: with 12 checkpoints or more a "
        "broken line with a flat end, its interval by inverting a bootstrapped likelihood ratio; with fewer the "
        "interval between the neighbouring checkpoints where the score comes within the noise of its end. Assumes "
        "checkpoints that are independent given the truth, and straight pieces on the logarithmic axis.",
        caveats=(
            "Sparse checkpoints cannot place an onset: it may lie anywhere in the interval.",
            "Neighbouring checkpoints drift together, which makes p-values too small.",
            "A plateau is one of this ladder; it may rise again beyond the last checkpoint.",
        ),
        needs="base or tuned scores",
        source="Mann (1945); Kendall (1975); Sen (1968); Feder (1975); Davison & Hinkley (1997)",
        columns=trends.TRENDS,
        compute=lambda inputs: inputs.trends,
    ),
    Analysis(
        name="dichotomy",
        title="Learnt in pre-training, or by fine-tuning",
        question="Which tasks does the model learn in pre-training, and which only after fine-tuning?",
        method="Rise of the base score, gain of fine-tuning at the end and level above the trivial baseline, each "
        "judged clear, none or unclear in units of the noise; a class follows from the three. Absence is claimed only "
        "when the change with its noise stays below ten points.",
        caveats=(
            "Thresholds are conventions (3 and 2 noise units, 10 points, a quarter): numbers stand beside the class.",
            "A task that was never fine-tuned on can only be called learnt in pre-training or undecided.",
        ),
        needs="scores on a scale from 0 to 1 of base models, or of models tuned on the evaluated task",
        source=AMURO_CHAR + ", section 4",
        columns=dichotomy.DICHOTOMY,
        compute=lambda inputs: dichotomy.classify_tasks(inputs.headline, inputs.noise, inputs.trends),
    ),
    Analysis(
        name="gains",
        title="Gain of fine-tuning",
        question="What does fine-tuning add at each checkpoint?",
        method="Tuned − base on the same evaluation; the standard error is the larger of the interval's and the noise "
        "floor's; normal p-values, Holm-corrected over the ladder.",
        caveats=("Base and tuned scores are treated as independent, which makes the intervals rather too wide.",),
        needs="checkpoints with both a base and a tuned score",
        source=AMURO_CHAR,
        columns=gains.GAINS,
        compute=lambda inputs: gains.measure_gains(inputs.headline, inputs.noise),
    ),
    Analysis(
        name="latent_gains",
        title="Latent gain and its turning point",
        question="Does pre-training improve the tuned model where the base score shows nothing, and until when?",
        method="Growth of both scores from the first checkpoint to the mean of the last third, in units of the noise. "
        "The turning point is the interval of the onset of the tuned curve's plateau.",
        caveats=("The turning point is as sharp as the grid of checkpoints allows.",),
        needs="training task that is evaluated on itself",
        source=AMURO_CHAR + ", 'latent improvement'",
        columns=gains.LATENT,
        compute=lambda inputs: gains.find_latent_gains(inputs.headline, inputs.noise, inputs.trends),
    ),
)


def run_analyses(inputs: Inputs, names: Iterable[str] | None = None) -> dict[str, Outcome]:
    """Run the analyses of the catalogue, or those of ``names``, in the catalogue's order.

    Every outcome's table has exactly the documented columns. Raises ``KeyError`` for an unknown name.
    """
    known = {analysis.name: analysis for analysis in CATALOGUE}
    wanted = list(known) if names is None else list(names)
    for name in wanted:
        if name not in known:
            raise KeyError(f"no analysis is called '{name}': {suggest(name, known)}")
    outcomes = {}
    for analysis in CATALOGUE:
        if analysis.name in wanted:
            table = analysis.compute(inputs)
            note = "" if len(table) else f"not enough data because the table has no {analysis.needs}"
            outcomes[analysis.name] = Outcome(analysis=analysis, table=table, note=note)
    return outcomes
