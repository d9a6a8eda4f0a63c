"""Configuration values that describe *what* is trained and measured: checkpoint, task, format, stage, optimizer.

They are frozen, keyword-only dataclasses. :mod:`pretune.config.schema` derives the plain (overridable) classes
that Hydra composes from the very same declarations, so each key is written down once.
"""

from __future__ import annotations

from dataclasses import dataclass

from pretune.config.options import option

LARGEST_SEED = 2**32 - 1
"""The largest seed that every random generator takes."""

HELD_OUT = "held_out"
"""``task.eval_split`` of a data set with one split only: rows of ``train_split`` that are neither trained on nor used
to choose."""

SCORERS = ("first_token", "sum", "per_token", "per_byte", "pmi", "constrained")
"""Ways to turn one forward pass over the options into a choice; all are rows of every evaluate cell."""
GENERATE, LIKELIHOOD = "generate", "likelihood"
"""Scorers of texts: a decoded answer compared with what is right, and the loss on a given text."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """Architecture of a model trained from scratch by ``stage=pretrain``."""

    name: str = option("pico", help="name of the architecture preset")
    architecture: str = option("olmo", help="model family of transformers", choices=("olmo",))
    hidden_size: int = option(128, help="width of the residual stream", minimum=8)
    intermediate_size: int = option(512, help="width of the feed-forward layer", minimum=8)
    layers: int = option(2, help="number of transformer blocks", minimum=1)
    heads: int = option(4, help="attention heads per block", minimum=1)
    context_length: int = option(256, help="longest sequence, in tokens", minimum=8)
    init_std: float = option(0.08, help="standard deviation of the initial weights", above=0)
    tie_embeddings: bool = option(False, help="share input and output embeddings")


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """The optimizer and its hyper-parameters."""

    name: str = option("adamw", help="optimizer", choices=("adamw", "adamw8bit", "paged_adamw8bit", "lion8bit", "sgd"))
    lr: float = option(2e-6, help="peak learning rate", above=0)
    betas: tuple[float, ...] = option((0.9, 0.999), help="decay rates of the moments (all but sgd)")
    eps: float = option(1e-8, help="term added to AdamW's denominator", above=0)
    weight_decay: float = option(0.0, help="decoupled weight decay", minimum=0)
    fused: bool = option(True, help="use torch's fused kernel", scientific=False)


@dataclass(frozen=True, kw_only=True)
class Regularizer:
    """What keeps a fine-tuning near the pre-trained model."""

    name: str = option(
        "none",
        help="kind of regularisation",
        choices=("none", "l2sp", "ewc", "replay", "sam", "freeze", "lora", "qlora"),
    )
    strength: float = option(
        0.0, help="weight of the penalty (l2sp, ewc), share of replayed text (replay), radius (sam)", minimum=0
    )
    text: str | None = option(None, help="task with the pre-training text; null: the checkpoint's own (ewc, replay)")
    windows: int = option(200, help="windows of text that the Fisher information is estimated on (ewc)", minimum=1)
    window_length: int = option(256, help="tokens per window of text (ewc, replay)", minimum=8)
    blocks: int = option(0, help="last blocks that are trained besides the head (freeze)", minimum=0)
    rank: int = option(8, help="rank of the adapters (lora, qlora)", minimum=1)
    alpha: float = option(16.0, help="scale of the adapters, times 1/rank (lora, qlora)", above=0)
    dropout: float = option(0.0, help="dropout before the adapters (lora, qlora)", minimum=0, maximum=0.9)
    targets: tuple[str, ...] = option((), help="layers of the blocks with adapters; empty: all linear (lora, qlora)")

    @property
    def dial(self) -> float:
        """What ``regularizer_strength`` says in the results table: the one number that this kind is varied by."""
        if self.name in ("lora", "qlora"):
            return float(self.rank)
        return float(self.blocks) if self.name == "freeze" else self.strength


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What kind of training: its length, batch, schedule and clipping."""

    name: str = option("sft", help="kind of training", choices=("sft", "instruct", "pretrain"))
    epochs: int = option(3, help="passes over the training rows (sft, instruct)", minimum=1)
    batch_size: int = option(8, help="rows (pretrain: windows) per optimizer step", minimum=1)
    schedule: str = option("linear", help="learning-rate schedule", choices=("linear", "cosine", "constant", "wsd"))
    warmup_ratio: float = option(0.03, help="share of the steps spent warming up", minimum=0, maximum=1)
    warmup_steps: int | None = option(None, help="steps spent warming up, instead of a share of them", minimum=0)
    decay_ratio: float = option(0.1, help="share of the steps of the final decay (wsd)", above=0, maximum=1)
    clip_norm: float = option(1.0, help="largest norm of the gradient; 0 switches clipping off", minimum=0)
    max_length: int = option(2048, help="longest prompt with completion, in tokens", minimum=4)
    sequence_length: int = option(64, help="tokens per window (pretrain)", minimum=4)
    save_steps: tuple[int, ...] = option((), help="steps whose weights are kept, the last one ends it (pretrain)")


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Real text to pre-train on, and the tokenizer that is trained on it."""

    path: str | None = option(None, help="folder of .parquet, .jsonl or .txt files (text=folder)")
    repo: str | None = option(None, help="data set on the Hub, streamed (text=hub)")
    config: str | None = option(None, help="configuration of the data set (text=hub)")
    revision: str | None = option(None, help="branch, tag or commit of the data set (text=hub)")
    split: str = option("train", help="split that is read (text=hub)")
    column: str = option("text", help="column of the text in .parquet and .jsonl files and on the Hub")
    documents: int | None = option(None, help="read only so many documents", minimum=2)
    held_out: int = option(
        200, help="documents, evenly spaced, kept out of training for the validation loss", minimum=1
    )
    vocabulary: int = option(
        1024, help="tokens of the byte-level BPE that is trained on the text", minimum=258, maximum=65_536
    )
    tokenizer_documents: int = option(
        5000, help="documents, evenly spaced, that the tokenizer is trained on", minimum=1
    )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that determines a ladder of checkpoints which this project trains itself, and thereby its identity."""

    text: str = option(
        "pico", help="pre-training text: the miniature's, or a corpus", choices=("pico", "folder", "hub")
    )
    corpus: Corpus = option(factory=Corpus, help="real text and its tokenizer (text=folder, text=hub)")
    model: Model = option(factory=Model, help="architecture")
    stage: Stage = option(factory=Stage, help="length, batch and schedule")
    optimizer: Optimizer = option(factory=Optimizer, help="optimizer of the pre-training")
    seed: int = option(0, help="seed of initialisation and data order", minimum=0, maximum=LARGEST_SEED)
    precision: str = option("32-true", help="precision of the pre-training", choices=("bf16-mixed", "32-true"))


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Facts about a training phase after the main pre-training (``stage2``, ``lc-4k-to-32k``)."""

    tokens_before: int = option(0, help="training tokens seen before step 0 of the phase", minimum=0)
    tokens_per_step: int | None = option(None, help="training tokens per step of the phase", minimum=1)
    annealed_from: int | None = option(
        None, help="first step whose learning rate had been annealed to its end", minimum=0
    )


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Size of a family's models, rounded: what a plan is estimated from before anything is downloaded."""

    parameters: int = option(help="all weights, the embedding included", minimum=1, scientific=False)
    layers: int = option(help="transformer blocks", minimum=1, scientific=False)
    hidden_size: int = option(help="width of the residual stream", minimum=1, scientific=False)
    vocabulary: int = option(help="rows of the output head", minimum=1, scientific=False)
    tied: bool = option(False, help="whether the embedding is the output head", scientific=False)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Where weights come from. ``revision`` (exact) or ``step`` (looked up by ``pattern``) says which."""

    source: str = option("hub", help="kind of place", choices=("hub", "path", "ladder"))
    family: str = option("olmo1b", help="name of the model family, a column of the results")
    repo: str | None = option(None, help="repository on the Hub, owner/name")
    revision: str | None = option(None, help="exact branch, tag or commit")
    step: int | str | None = option(None, help="pre-training step; in a sweep also 'all' or 'every:N'")
    phase: str = option("main", help="training phase whose steps are meant, as the family's pattern names it")
    pattern: str | None = option(None, help="regular expression of revision names: groups step, tokens, unit, phase")
    tokens_before: int = option(0, help="pre-training tokens seen before step 0", minimum=0)
    tokens_per_step: int | None = option(None, help="pre-training tokens per step", minimum=1)
    batch_changes: dict[str, int] = option(factory=dict, help="step → tokens per step from there on")
    annealed_from: int | None = option(
        None, help="first step whose learning rate had been annealed to its end", minimum=0
    )
    phases: dict[str, Phase] = option(factory=dict, help="facts of other phases, by name or first part of it")
    final_step: int | None = option(None, help="the step that revision 'main' stands for", minimum=0)
    final_phase: str = option("main", help="the phase of final_step", nonempty=True)
    annealed: bool | None = option(None, help="whether the learning rate had been annealed to its end; null: by step")
    pretrain_seed: int | None = option(None, help="seed of the pre-training, where a family has several", minimum=0)
    context_length: int | None = option(None, help="longest sequence of the pre-training, in tokens", minimum=1)
    eos_token: str | None = option(None, help="end-of-text token that the tokenizer must have; null: any")
    pad_token: str | None = option(None, help="padding token that the tokenizer must have; null: any")
    allow_pickle: bool = option(
        False, help="load pickled weights (.bin) where there are no safetensors", scientific=False
    )
    init_std: float | None = option(
        None, help="standard deviation of the initial weights, where the family has no step 0", above=0
    )
    shape: Shape | None = option(None, help="size of the models, for estimates (mode=plan)", scientific=False)
    pretraining_text: str | None = option(None, help="task whose text the loss before and after is measured on")
    path: str | None = option(
        None, help="local folder: of one checkpoint (source=path), of a trained ladder (source=ladder)"
    )
    recipe: Recipe | None = option(None, help="how the ladder is trained (source=ladder)")


@dataclass(frozen=True, kw_only=True)
class Task:
    """A data set, how its rows become examples, how answers are scored, and which evaluations go with it."""

    name: str = option("", help="name of the task, a column of the results", nonempty=True)
    family: str = option("", help="which template of a format is used", nonempty=True)
    answer: str = option(
        "classification",
        help="kind of answer",
        choices=("classification", "choice", "generation", "language", "chat"),
    )
    source: str = option("hub", help="where rows come from", choices=("hub", "path", "pico", "ladder"))
    path: str | None = option(None, help="folder of Parquet or JSONL files named by split (source=path)")
    repo: str | None = option(None, help="data set on the Hub, owner/name")
    config: str | None = option(None, help="configuration of the data set")
    data_dir: str | None = option(None, help="folder of the repository that is read (sets without configurations)")
    revision: str | None = option(None, help="branch, tag or commit of the data set")
    train_split: str | None = option("train", help="split of the training rows and of the shots; a+b joins splits")
    validation_split: str | None = option(None, help="split held out for choosing; null: rows of train_split")
    eval_split: str = option(
        "validation", help="labelled split that is evaluated; held_out: rows of train_split kept apart for it"
    )
    labelled_splits: tuple[str, ...] = option(
        (), help="the splits whose labels the Hub gives: others are refused; empty: not known"
    )
    stream_rows: int | None = option(
        None, help="read only so many rows of a split, by streaming (large sets)", minimum=1
    )
    sample_rows: int | None = option(
        None, help="read only so many rows of a split, drawn with a fixed seed (sets too large for memory)", minimum=1
    )
    reader: str = option("columns", help="function that turns a row into fields, options and answer")
    fields: dict[str, str] = option(factory=dict, help="template field → column")
    label: str | None = option(None, help="column of the label, the target text or the right option")
    labels: dict[str, str] = option(factory=dict, help="value in the label column → label text, in option order")
    label_names: tuple[str, ...] = option(
        (), help="names of the label values 0, 1, … in the data set's own features: checked where it has them"
    )
    letters: bool = option(False, help="show the options with letters and score the letters (multiple choice)")
    train_rows: int = option(6000, help="training rows, drawn by seed", minimum=1)
    validation_rows: int = option(
        200, help="rows held out from train_split when there is no validation_split (and for held_out)", minimum=1
    )
    metric: str = option(
        "accuracy", help="metric of the headline", choices=("accuracy", "rouge_l", "exact_match", "loss")
    )
    scorer: str = option("sum", help="scorer of the headline", choices=(*SCORERS, GENERATE, LIKELIHOOD))
    max_new_tokens: int = option(60, help="longest generated answer, in tokens", minimum=1)
    in_domain: tuple[str, ...] = option((), help="tasks evaluated as in-domain after training on this one")
    out_of_domain: tuple[str, ...] = option((), help="tasks evaluated as out-of-domain")
    cross_task: tuple[str, ...] = option((), help="tasks evaluated as other tasks (transfer and forgetting)")


@dataclass(frozen=True, kw_only=True)
class Template:
    """The wording of one family of tasks in one format. ``{name}`` stands for a field of the example."""

    prompt: str = option(help="text before the answer; must not end in a space", nonempty=True)
    completion: str = option(" {answer}", help="text that is learnt and scored")
    body: str | None = option(None, help="field that is shortened when the prompt is too long")
    stop: str = option("\n", help="a generated answer ends at this text")
    turns: dict[str, str] = option(
        factory=dict, help="conversations: role → words of such a turn, before the prompt that opens a reply"
    )
    after: str = option("\n", help="conversations: text between a reply, with its end-of-text token, and the next turn")


@dataclass(frozen=True, kw_only=True)
class Format:
    """A prompt format: one template per family of tasks."""

    name: str = option("", help="name of the format, a column of the results", nonempty=True)
    separator: str = option("\n\n", help="text between shots")
    templates: dict[str, Template] = option(factory=dict, help="family of tasks → template")
