"""Records of finished cells, as small as they may be."""

from __future__ import annotations

from typing import Any

from pretune.results.store import Record, Study


def make_record(run_id: str = "evaluate-a-0123456789ab", **changes: Any) -> Record:
    """A record with one row of metrics."""
    values: dict[str, Any] = {
        "run_id": run_id,
        "kind": "evaluate",
        "request_key": "k" * 64,
        "identity": "0123456789ab" + "0" * 52,
        "request": {"kind": "evaluate"},
        "config": {"seed": 0, "name": "é: #"},
        "metrics": [{"eval_task": "nli", "metric": "accuracy", "value": 0.5, "n": 8, "step": 16}],
    }
    return Record(**{**values, **changes})


def publish(study: Study, record: Record, **how: Any) -> None:
    """Publish a record under a claim of its own."""
    claim = study.claim(record.run_id)
    assert claim.try_acquire()
    try:
        study.publish(record, claim, **how)
    finally:
        claim.release()
