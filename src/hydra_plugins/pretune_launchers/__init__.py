"""Hydra plugin: the launchers of pretune."""
