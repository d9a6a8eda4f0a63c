"""What all analyses share, computed once from a results table when the first of them asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from pretune.analysis.choosing import validate_rates
from pretune.analysis.cleaning import clean
from pretune.analysis.comparison import compare
from pretune.analysis.disturbed import PROBES, build_probes
from pretune.analysis.forgetting import choose_text_metric, derive_forgetting, keep_texts
from pretune.analysis.formats import derive_formats
from pretune.analysis.headline import pick_evaluation
from pretune.analysis.ladders import order_checkpoints
from pretune.analysis.metrics import Measure, Primary, choose_measures, find_text_tasks
from pretune.analysis.noise import measure_noise
from pretune.analysis.rate_trends import find_best_rates
from pretune.analysis.sensitivity import build_damages
from pretune.analysis.series import SERIES, build_frame, build_series
from pretune.analysis.transfer import derive_transfer
from pretune.analysis.trends import find_trends

CURVES = {**SERIES, **{name: meaning for name, meaning in PROBES.items() if name not in SERIES}}
"""Columns of curves of undisturbed and of disturbed models."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """A results table with its primary measures, and the tables that several analyses are cut from.

    ``table`` is any table of the contract; ``primary`` names (metric, scorer) of each evaluated task's headline.
    Everything else is derived from the two, lazily.
    """

    table: pd.DataFrame
    primary: Primary

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The cleaned table."""
        return clean(self.table).table

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """(metric, scorer) that stands for each evaluated task."""
        return choose_measures(self.rows, self.primary)

    @cached_property
    def texts(self) -> frozenset[str]:
        """Tasks that are pre-training text."""
        return find_text_tasks(self.rows)

    @cached_property
    def text_metric(self) -> str | None:
        """The metric that text is read by."""
        return choose_text_metric(self.rows)

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """Base beside tuned, in all formats and shots, at the chosen learning rates."""
        return compare(self.rows, self.primary, text_metric=self.text_metric)

    @cached_property
    def comparison_every_rate(self) -> pd.DataFrame:
        """The same with every learning rate."""
        return compare(self.rows, self.primary, every_rate=True, text_metric=self.text_metric)

    @cached_property
    def headline(self) -> pd.DataFrame:
        """Base beside tuned, in one format and number of shots of each task, without text."""
        return pick_evaluation(self._without_texts(self.comparison))

    @cached_property
    def every_rate(self) -> pd.DataFrame:
        """The headline with every learning rate as a curve of its own."""
        return pick_evaluation(self._without_texts(self.comparison_every_rate))

    def _without_texts(self, rows: pd.DataFrame) -> pd.DataFrame:
        return rows[~rows["eval_task"].isin(self.texts)]

    @cached_property
    def rates(self) -> pd.DataFrame:
        """Learning rates on validation rows, and the chosen ones."""
        return validate_rates(self.rows, self.measures)

    @cached_property
    def forgetting(self) -> pd.DataFrame:
        """Loss on pre-training text before and after, at the chosen learning rates."""
        return derive_forgetting(keep_texts(self.comparison, self.texts, self.text_metric))

    @cached_property
    def forgetting_every_rate(self) -> pd.DataFrame:
        """Loss on pre-training text before and after, at every learning rate."""
        return derive_forgetting(keep_texts(self.comparison_every_rate, self.texts, self.text_metric))

    @cached_property
    def transfer(self) -> pd.DataFrame:
        """Tuned − base for every pair of training and evaluated task."""
        return derive_transfer(self.headline)

    @cached_property
    def formats(self) -> pd.DataFrame:
        """The score in every prompt format."""
        return derive_formats(self._without_texts(self.comparison))

    @cached_property
    def checkpoints(self) -> pd.DataFrame:
        """The checkpoints in the order of pre-training."""
        return order_checkpoints(self.rows)

    @cached_property
    def probes(self) -> pd.DataFrame:
        """Probe measurements, averaged over seeds."""
        return build_probes(self.rows)

    @cached_property
    def damages(self) -> pd.DataFrame:
        """What each disturbance does at each checkpoint."""
        return build_damages(self.probes, self.forgetting_every_rate)

    @cached_property
    def best_rates(self) -> pd.DataFrame:
        """The best learning rate of each training at each checkpoint."""
        return find_best_rates(self.rates, self.checkpoints)

    @cached_property
    def text_series(self) -> pd.DataFrame:
        """Loss on pre-training text as curves, every learning rate one of its own (in ``setting``)."""
        return build_series(keep_texts(self.comparison_every_rate, self.texts, self.text_metric))

    @cached_property
    def series(self) -> pd.DataFrame:
        """The headline as curves; annealed and un-annealed checkpoints apart."""
        return build_series(self.headline)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Undisturbed and disturbed models as curves: the headline, text at every learning rate, probes."""
        parts = [part for part in (self.series, self.text_series, self.probes) if len(part)]
        rows = pd.concat(parts, ignore_index=True) if parts else self.series
        return build_frame(rows.reindex(columns=list(CURVES)), CURVES)

    @cached_property
    def all_series(self) -> pd.DataFrame:
        """All of :attr:`comparison` as curves: every format and number of shots."""
        return build_series(self.comparison)

    @cached_property
    def noise(self) -> pd.DataFrame:
        """The noise of every curve."""
        return measure_noise(self.series)

    @cached_property
    def trends(self) -> pd.DataFrame:
        """Trend and plateau of every curve."""
        return find_trends(self.series, self.noise)
