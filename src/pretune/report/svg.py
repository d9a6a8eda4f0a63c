"""Just enough SVG: elements whose text and attributes are escaped, and a wrapper for files of their own."""

from __future__ import annotations

from importlib import resources

from markupsafe import Markup, escape

NAMESPACE = "http://www.w3.org/2000/svg"


def element(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """Build ``<name …>children</name>``.

    Children that are not :class:`Markup` are escaped. Attribute names lose a trailing underscore, inner ones become
    hyphens, except for ``viewBox`` and the like which are written as they are; ``None`` leaves an attribute out;
    numbers are rounded to a tenth of a unit.
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(Markup(key.rstrip("_").replace("_", "-")), _number(value))
        for key, value in attributes.items()
        if value is not None
    )
    content = Markup("").join(escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, content)


def _number(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.1f}".removesuffix(".0")


def path_through(points: list[tuple[float, float]]) -> str:
    """Return the ``d`` of a line through ``points``."""
    return " ".join(f"{'L' if index else 'M'}{_number(x)} {_number(y)}" for index, (x, y) in enumerate(points))


def load_text(name: str) -> str:
    """Return a file of the templates folder."""
    return resources.files("pretune.report").joinpath("templates", name).read_text(encoding="utf-8")


def stand_alone(drawing: Markup) -> str:
    """Return a drawing as a file of its own: with namespace, style (light and dark) and background."""
    style = load_text("figure.css")
    opened = Markup('<svg xmlns="{}" ').format(NAMESPACE) + Markup(drawing.removeprefix("<svg "))
    head, rest = opened.split(">", 1)
    ground = '<rect class="ground" width="100%" height="100%"/>'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}><style>{style}</style>{ground}{rest}\n'


def clip(text: str, limit: int) -> str:
    """Cut ``text`` to ``limit`` characters, with an ellipsis where something is left out."""
    return text if len(text) <= limit else text[: max(limit - 1, 1)] + "…"


def tint(colour: int) -> str:
    """Return the class of palette colour ``colour``; a negative one means none of them."""
    return f"c{colour}" if colour >= 0 else "neutral"


def draw_mark(shape: int, x: float, y: float, class_: str, size: float = 4.0) -> Markup:
    """Draw a circle, square, diamond or triangle (``shape`` modulo 4), a cross (−1) or a plus (−2)."""
    if shape == -2:
        strokes = [(x - size, y), (x + size, y)], [(x, y - size), (x, y + size)]
        return element("path", d=" ".join(path_through(pair) for pair in strokes), class_=class_)
    if shape < 0:
        ends = [(x - size, y - size), (x + size, y + size)], [(x - size, y + size), (x + size, y - size)]
        return element("path", d=" ".join(path_through(pair) for pair in ends), class_=class_)
    shape %= 4
    if shape == 0:
        return element("circle", cx=x, cy=y, r=size, class_=class_)
    if shape == 1:
        side = size * 1.8
        return element("rect", x=x - side / 2, y=y - side / 2, width=side, height=side, class_=class_)
    if shape == 2:
        reach = size * 1.35
        corners = [(x, y - reach), (x + reach, y), (x, y + reach), (x - reach, y)]
    else:
        reach = size * 1.25
        corners = [(x, y - reach), (x + reach, y + reach * 0.8), (x - reach, y + reach * 0.8)]
    return element("path", d=path_through(corners) + " Z", class_=class_)
