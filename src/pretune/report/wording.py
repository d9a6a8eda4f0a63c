"""Numbers and lists in words: one place decides how the page writes them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

MINUS = "−"
ABSENT = "–"


def write_number(value: object, digits: int = 1, *, signed: bool = False) -> str:
    """Write a number with ``digits`` decimals, a true minus sign, and a plus sign when ``signed``; "–" for null."""
    number = _float(value)
    if number is None:
        return ABSENT
    text = f"{abs(number):,.{digits}f}"
    is_zero = not text.strip("0.,")
    if number < 0 and not is_zero:
        return MINUS + text
    return ("+" if signed and not is_zero else "±" if signed else "") + text


def write_interval(low: object, high: object, digits: int = 1) -> str:
    """Write "low to high", or an empty string when a bound is null."""
    if _float(low) is None or _float(high) is None:
        return ""
    return f"{write_number(low, digits)} to {write_number(high, digits)}"


def write_count(value: object) -> str:
    """Write an integer with separators; "–" for null."""
    number = _float(value)
    return ABSENT if number is None else f"{int(number):,}"


def shorten(value: object) -> str:
    """Write a large number shortly: 1,024 → "1,024", 342000 → "342k", 1.43e12 → "1.43T"."""
    number = _float(value)
    if number is None:
        return ABSENT
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= (1e4 if unit == "k" else size):
            return f"{float(f'{number / size:.3g}'):g}{unit}"
    return f"{number:,.0f}"


def write_rate(value: object) -> str:
    """Write a learning rate: 1e-3, 2e-06 → "1e-3", "2e-6"."""
    number = _float(value)
    if number is None:
        return ABSENT
    mantissa, exponent = f"{number:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def write_p(value: object) -> str:
    """Write a p-value: three decimals, "< 0.001" below that; "–" for null."""
    number = _float(value)
    if number is None:
        return ABSENT
    return "< 0.001" if number < 0.001 else f"{number:.3f}"


def join_words(words: Sequence[str], last: str = "and") -> str:
    """Join as in a sentence: "a", "a and b", "a, b and c"."""
    words = list(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}" if words else ""


def is_null(value: object) -> bool:
    """Say whether ``value`` is None, NaN or NA."""
    return _is_missing(value)


def write_text(value: object) -> str:
    """Write any cell of a table as text; "–" for null."""
    return ABSENT if _is_missing(value) else str(value)


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and value != value)


def _float(value: object) -> float | None:
    if _is_missing(value):
        return None
    number = float(value)  # type: ignore[arg-type]
    return None if number != number else number
