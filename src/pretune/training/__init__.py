"""Training: Lightning modules, optimizers, schedules, resuming, and the ladder of the embedded miniature."""
