"""Probes by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pretune.probes.format import probe_format
from pretune.probes.gaussian import probe_gaussian
from pretune.probes.interpolate import probe_interpolate
from pretune.probes.quantize import probe_quantize
from pretune.probes.representation import probe_representation
from pretune.probes.sharpness import probe_sharpness
from pretune.probes.subject import Findings, Subject

PROBES: Mapping[str, Callable[[Subject], Findings]] = {
    "gaussian": probe_gaussian,
    "quantize": probe_quantize,
    "interpolate": probe_interpolate,
    "sharpness": probe_sharpness,
    "representation": probe_representation,
    "format": probe_format,
}
"""``probe.name`` → the function that computes it; :data:`pretune.config.probing.PROBE_FIELDS` has the same names."""
