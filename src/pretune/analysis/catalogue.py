"""The list of all analyses: what each asks, how, with which caveats. Adding an analysis is adding an entry here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from pretune.analysis import (
    dichotomy,
    exchange,
    format_slopes,
    gains,
    inflections,
    matched,
    mitigation,
    noise,
    prediction,
    rate_trends,
    sensitivity,
    soundness,
    trends,
)
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
    Analysis(
        name="exchange",
        title="Transfer and forgetting between kinds of tasks",
        question="What does training on one kind of task do to another: classification to generation, and back?",
        method="Mean of tuned − base over pairs of training and evaluated task, with Student's t interval over pairs; "
        "the study's ratio (mean relative change) over cells beside it. Assumes that the pairs stand for others.",
        caveats=(
            "The ratio explodes where a base score is near zero: read the difference first.",
            "Few pairs give wide intervals; one pair gives none.",
        ),
        needs="training task that is evaluated before and after",
        source=AMURO_CHAR + ", section 6 (forgetting, MRC)",
        columns=exchange.EXCHANGE,
        compute=lambda inputs: exchange.summarise_transfer(inputs.transfer, inputs.measures),
    ),
    Analysis(
        name="format_slopes",
        title="Sensitivity to the prompt format",
        question="Does more pre-training make the score depend less on the wording of the prompt?",
        method="Best − worst format against pre-training by least squares on the logarithmic axis, Student's t "
        "interval, Holm-corrected; over the same formats at every checkpoint. Assumes independent, equal errors.",
        caveats=(
            "The spread of noisy scores is never zero: compare it with noise_spread.",
            "It grows with the number of formats: compare rows with the same formats only.",
        ),
        needs="task that was evaluated in two prompt formats",
        source=AMURO_CHAR + ", section 5 (task format)",
        columns=format_slopes.FORMAT_SLOPES,
        compute=lambda inputs: format_slopes.fit_format_slopes(inputs.formats, inputs.checkpoints, inputs.noise),
    ),
    Analysis(
        name="inflections",
        title="Inflection: more pre-training, worse models",
        question="From which checkpoint on does more pre-training make the tuned or the disturbed model worse?",
        method="Largest standardised fall from any window of the curve to its end, against its distribution on a flat "
        "curve (so that the choice of the peak is part of the test), Holm-corrected; noise from seeds, else from the "
        "scatter about the curve. The place: a broken line with free slopes and a bootstrap interval, or the "
        "neighbours of the peak.",
        caveats=(
            "Annealed and un-annealed checkpoints are never in one curve; intermediate checkpoints of one run stand at "
            "different learning rates, which alone can move their scores.",
            "A fall within the noise cannot be seen: 'no decline shown' is no proof of none.",
            "p_naive shows what forgetting the selection would have claimed; it is not a result.",
        ),
        needs="curves over checkpoints",
        source=OVERTRAINED + ", sections 2 and 3",
        columns=inflections.INFLECTIONS,
        compute=lambda inputs: inflections.find_inflections(inputs.curves),
    ),
    Analysis(
        name="sensitivity",
        title="Progressive sensitivity",
        question="Does the same disturbance – noise of one size, fine-tuning at one rate – do more damage later on?",
        method="Damage against pre-training by least squares on the logarithmic axis, one slope per size or rate, "
        "Student's t interval, Holm-corrected; Kendall's tau beside it. Assumes independent errors of equal size.",
        caveats=(
            "The size of noise means what the probe's normalisation says: compare sizes within one variant only.",
            "A straight line is a summary: a damage that only starts late has a small slope.",
        ),
        needs="probe that reports a damage, nor a loss on pre-training text before and after fine-tuning",
        source=OVERTRAINED + ", section 3.3 and 3.4.1",
        columns=sensitivity.SENSITIVITY,
        compute=lambda inputs: sensitivity.fit_sensitivity(inputs.damages),
    ),
    Analysis(
        name="rate_trends",
        title="Best learning rate over pre-training",
        question="Does the best learning rate of fine-tuning stay, fall slowly or fall quickly with pre-training?",
        method="log2 of the rate that is best on validation rows (between grid points by a parabola) against "
        "pre-training, least squares, Student's t interval; classed by conventions on the slope.",
        caveats=(
            "A best rate at the edge of the grid only bounds the optimum: widen the grid.",
            "Validation scores are noisy; where several rates are equally good the best one is a toss.",
        ),
        needs="training with several learning rates and validation scores",
        source=OVERTRAINED + ", figure 5",
        columns=rate_trends.RATE_TRENDS,
        compute=lambda inputs: rate_trends.fit_rate_trends(inputs.best_rates),
    ),
    Analysis(
        name="matched_forgetting",
        title="Forgetting at equal fine-tuning loss",
        question="How much does each checkpoint forget where all have learnt the fine-tuning task equally well?",
        method="τ is the largest validation loss that every checkpoint reaches at its best rate. Forgetting at τ is "
        "read off the straight lines through the points (fine-tuning loss, forgetting) in the order of the rates, "
        "where they first come down to τ. The rates that no other one beats in both are the Pareto front. Assumes "
        "straight lines between neighbouring rates.",
        caveats=(
            "No interval: neighbouring rates must differ by more than the luck of a run for a reading to mean much.",
            "The worst checkpoint sets τ: one that was trained too little makes the comparison a gentle one.",
            "Equal loss is not equal score.",
        ),
        needs="training task with validation losses and losses on pre-training text at two rates of two checkpoints",
        source=OVERTRAINED + ", section 3.4",
        columns=matched.MATCHED,
        compute=lambda inputs: matched.match_forgetting(inputs.rows, inputs.forgetting_every_rate),
    ),
    Analysis(
        name="mitigation",
        title="Mitigation",
        question="What do a lower learning rate or a regulariser cost on the task, and what do they save elsewhere?",
        method="Each arm of a training against the unregularised one at its chosen rate: score on the task, rise of "
        "the loss on pre-training text; unpaired intervals; the arms that no other beats in both are marked.",
        caveats=(
            "Nothing is corrected for the number of arms.",
            "Arms with one seed may differ by the luck of a run: see the noise floor.",
        ),
        needs="training with several arms (learning rates, regularisers) evaluated on its own task",
        source=OVERTRAINED + ", section 3.5; Watts et al. (arXiv 2605.02105)",
        columns=mitigation.MITIGATION,
        compute=lambda inputs: mitigation.tabulate_mitigation(
            inputs.every_rate, inputs.forgetting_every_rate, inputs.rates
        ),
    ),
    Analysis(
        name="prediction",
        title="Prediction without fine-tuning",
        question="Can cheap measurements of a checkpoint predict its tuned score, and the best place to stop?",
        method="Each feature (base score, loss on text, every probe) and all together, fitted on earlier checkpoints "
        "or on other tasks; error and regret against 'latest checkpoint', 'lowest perplexity' and 'mean', paired over "
        "tasks, Holm-corrected. Assumes that tasks are exchangeable.",
        caveats=(
            "'No better than baseline' is the usual answer on few tasks: their number bounds what can be shown.",
            "Rank correlations are pooled over tasks and secondary: levels of tasks alone can make them large.",
        ),
        needs="task of three or more that was tuned at four or more checkpoints",
        source="Sun & Dredze (arXiv 2408.06663), future work; EvoLM (arXiv 2506.16029) on perplexity as a predictor",
        columns=prediction.PREDICTION,
        compute=lambda inputs: prediction.judge_predictors(inputs.headline, inputs.text_series, inputs.probes),
    ),
    Analysis(
        name="soundness",
        title="Scores that should not be believed",
        question="Which scores cannot mean what they seem to?",
        method="Rules on accuracies in all formats and shots: right before anything can have been learnt, far below "
        "the trivial baseline, different on practically the same weights, equal to the majority class throughout.",
        caveats=("Rules, not tests: a flag asks for a look at the cells; no flag is no proof of soundness.",),
        needs="score that breaks a rule",
        source="defects found in published tables: hidden test labels scored as gold, labels outside the candidates",
        columns=soundness.SOUNDNESS,
        compute=lambda inputs: soundness.find_unsound(inputs.all_series),
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
