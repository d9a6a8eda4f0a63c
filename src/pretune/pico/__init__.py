"""The embedded miniature: a small world, a small language, its corpus and the tasks that mirror the studies."""
