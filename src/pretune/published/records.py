"""What all readers of published tables share: strict reading of files, and rows that say where they come from."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published table: its rows in the contract's columns, each task's primary measure, and notes to show."""

    table: pd.DataFrame
    primary: Mapping[str, tuple[str, str]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A place in a file, for messages and run ids: "FILE, line 12"."""

    file: Path
    line: int

    def fail(self, message: str) -> DataError:
        """Return the error that names this place."""
        return DataError(f"{self.file}, line {self.line}: {message}")

    def name(self, format_name: str) -> str:
        """Return the run id of a row from here."""
        return f"published:{format_name}:{self.file.name}:{self.line}"


def name_family(family: str, format_name: str) -> str:
    """Return the name under which published results of a family stand, apart from own ones."""
    return f"{family} ({format_name})"


def read_rows(path: Path, *, required: Sequence[str] = ()) -> Iterator[tuple[Origin, dict[str, Any]]]:
    """Yield the rows of a CSV, JSONL or Parquet file with the line each begins on (Parquet: its number, from 1).

    Empty cells are None. Raises :class:`DataError` for a file that is none of these, or lacks a column of ``required``.
    """
    reader = {".csv": _read_csv, ".tsv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}.get(path.suffix)
    if reader is None:
        raise DataError(f"{path}: '{path.suffix}' is not a kind of table; valid: .csv, .tsv, .jsonl, .parquet")
    checked = False
    try:
        for line, row in reader(path):
            origin = Origin(file=path, line=line)
            if not checked:
                lacking = [name for name in required if name not in row]
                if lacking:
                    raise origin.fail(f"the columns {lacking} are missing; there are {list(row)}")
                checked = True
            yield origin, row
    except (OSError, UnicodeDecodeError, csv.Error, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _read_csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
        for row in reader:
            if None in row or any(value is None for value in row.values()):
                origin = Origin(file=path, line=reader.line_num)
                raise origin.fail(f"the row does not have the {len(reader.fieldnames or ())} fields of the head")
            yield reader.line_num, {name: value if value != "" else None for name, value in row.items()}


def _read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8") as file:
        for line, text in enumerate(file, start=1):
            if text.strip():
                yield line, load_object(text, Origin(file=path, line=line))


def load_object(text: str, origin: Origin) -> dict[str, Any]:
    """Parse a JSON object; raise :class:`DataError` at ``origin`` for anything else."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise origin.fail(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise origin.fail(f"a JSON object is expected, not {type(value).__name__}")
    return value


def _read_parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    yield from enumerate(table.to_pylist(), start=1)


def take_number(row: Mapping[str, Any], field: str, origin: Origin, *, whole: bool = False) -> float:
    """Return a finite number from a field. Raises :class:`DataError` naming file, line and field otherwise."""
    value = row.get(field)
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if (
        not math.isfinite(number)
        or isinstance(value, bool)
        or (whole and (number != int(number) or abs(number) >= 2**63))
    ):
        kind = "a whole number" if whole else "a finite number"
        raise origin.fail(f"field '{field}' is {value!r}, not {kind}")
    return number


def take_text(row: Mapping[str, Any], field: str, origin: Origin) -> str:
    """Return a non-empty text from a field. Raises :class:`DataError` naming file, line and field otherwise."""
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise origin.fail(f"field '{field}' is {value!r}, not a text")
    return value.strip()


def bound(value: float, error: float, *, share: bool) -> dict[str, float]:
    """Return a 95 % interval from a standard error; of a share, cut off at 0 and 1."""
    low, high = value - 1.96 * error, value + 1.96 * error
    return {"ci_low": max(low, 0.0), "ci_high": min(high, 1.0)} if share else {"ci_low": low, "ci_high": high}
