"""pretune: measure how pre-training shapes fine-tuning."""

__version__ = "0.1.0"
