"""Evaluation: likelihood scoring, generation, loss on text, metrics with intervals, trivial baselines.

Importing this package loads neither torch nor transformers; its modules ``likelihood``, ``generation``,
``text_loss`` and ``evaluate`` do.
"""
