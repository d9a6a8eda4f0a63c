"""Rows, examples, prompts, shots, tokens and batches: everything between a data set and a model."""
