"""Measurements: both sides of every comparison in one run, medians with their spread, one command each."""
