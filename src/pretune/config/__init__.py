"""Typed configuration: the values, their rules, their resolution, and the expansion of sweeps.

Nothing in this package imports torch, lightning, transformers or pandas: ``--help``, shell completion and the
check whether a cell is already finished depend on that.
"""
