"""What is forgotten for what is learnt: at equal loss, and with gentler ways of fine-tuning."""

from __future__ import annotations

from pretune.report.sections.blocks import Section, cut
from pretune.report.sections.context import SETTINGS, Context
from pretune.report.tradeoffs import draw_arm_scores, draw_arms, draw_fronts, draw_matched


def ask_matched(context: Context) -> Section | None:
    """Forgetting where all checkpoints have learnt the task equally well."""
    tables = context.show("matched_forgetting", [
        ("family", "model", "text"), ("annealed", "annealed", "text"), ("train_task", "trained on", "text"),
        *SETTINGS, ("text", "text", "text"), ("checkpoint", "checkpoint", "text"), ("tokens", "tokens", "large"),
        ("matched_loss", "τ", "number"), ("matched_forgetting", "forgetting at τ", "change"),
        ("matched_lr", "rate at τ", "rate"), ("matching", "read", "text"), ("lr", "lr", "rate"),
        ("fine_tuning_loss", "fine-tuning loss", "number"), ("forgetting", "forgetting", "change"),
        ("pareto", "on the front", "text"),
    ], folded=False)  # fmt: skip
    if not tables:
        return None
    matched = context.results.find("matched_forgetting")
    method, caveats = context.tell("matched_forgetting")
    return Section(
        id="matched-forgetting", short="Matched forgetting", question=context.ask("matched_forgetting"),
        blocks=(
            *cut(draw_matched(matched, context.ladders, context.colours)),
            *cut(draw_fronts(matched), heading="The learning rates of each checkpoint",
                 note="Left is better learnt, down is less forgotten; a curve joins the rates of a checkpoint in their "
                 "order. A small mark is a rate that another one beats in both; τ is the loss that all reach."),
            *tables,
        ),
        lead="How much the loss on pre-training text has risen where each checkpoint first reaches the fine-tuning "
        "loss that all of them reach. A checkpoint that is below it at its smallest rate already has no mark.",
        method=method, caveats=caveats,
    )  # fmt: skip


def ask_mitigation(context: Context) -> Section | None:
    """What gentler fine-tuning costs and saves."""
    tables = context.show("mitigation", [
        ("family", "model", "text"), ("annealed", "annealed", "text"), ("train_task", "trained on", "text"),
        ("checkpoint", "checkpoint", "text"), ("tokens", "tokens", "large"), *SETTINGS, ("lr", "lr", "rate"),
        ("is_reference", "reference", "text"), ("metric", "metric", "metric"), ("score", "score", "score"),
        ("score_change", "change", "change"), ("score_change_low", "change, low", "change"),
        ("score_change_high", "change, high", "change"), ("text", "text", "text"),
        ("forgetting", "forgetting", "number"), ("forgetting_change", "saved (−)", "number"),
        ("forgetting_change_low", "saved, low", "number"), ("forgetting_change_high", "saved, high", "number"),
        ("pareto", "unbeaten", "text"),
    ], folded=False)  # fmt: skip
    if not tables:
        return None
    found = context.results.find("mitigation")
    figures = [*draw_arms(found, context.colours), *draw_arm_scores(found, context.colours)]
    method, caveats = context.tell("mitigation")
    return Section(
        id="mitigation", short="Mitigation", question=context.ask("mitigation"),
        blocks=(*cut(figures), *tables), method=method, caveats=caveats,
        lead="Each arm of a training against the unregularised one at its chosen rate, at the last checkpoint: up is a "
        "better score, left is less forgetting. A triangle points at the reference; a small mark is an arm that "
        "another one beats in both.",
    )  # fmt: skip
