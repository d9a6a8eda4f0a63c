"""Hydra plugin: the default sweeper of pretune."""
