"""What happens to a checkpoint when it is disturbed, and what its weights and hidden states look like.

A probe is one function ``(Subject) -> Findings``, entered in :data:`pretune.probes.registry.PROBES`.
"""
