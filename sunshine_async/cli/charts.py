"""Charts of a report page, as SVG elements: no script, no font, no picture from elsewhere.

A chart stretches to the width of the page, so that labels are text of the page beside the drawing,
and stay readable at any width. A line or an area is a series of steps: a value holds for a part of
the time. ElementTree escapes all text; a chart library would bring a script, or pictures of text.
"""

from collections.abc import Callable, Iterable, Sequence
from math import floor, log10
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from attrs import frozen

from sunshine_async.cli.progress import format_duration

_WIDTH: Final = 1000.0
_HEIGHT: Final = 100.0
_TICKS: Final = 4  # about as many lines across a chart
_LEAST: Final = 1e-9  # values below this are drawn as none
_TIME_STEPS: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800)
_DAY: Final = 86400


def make(tag: str, text: str = "", /, *children: Element, **attributes: str) -> Element:
    """Return an element; a name in *attributes* may end in ``_``, and ``_`` inside means ``-``."""
    names = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    element = Element(tag, names)
    element.text = text
    element.extend(children)
    return element


@frozen
class Series:
    """Values over time, a value for each part; None: no value."""

    label: str
    style: str
    """Class of the drawing: the colour is in the style sheet."""
    values: Sequence[float | None]


@frozen
class Axis:
    """The time of a chart: the parts, and the beginnings of runs, in seconds."""

    lengths: Sequence[float]
    """Seconds of each part."""
    marks: Sequence[float] = ()
    """Beginnings of later runs."""

    @property
    def end(self) -> float:
        """Seconds of all parts."""
        return sum(self.lengths) or 1.0

    def edges(self) -> list[tuple[float, float]]:
        """Return the beginning and the end of each part, in the units of a drawing."""
        edges: list[tuple[float, float]] = []
        at = 0.0
        for length in self.lengths:
            edges.append((at * _WIDTH / self.end, (at + length) * _WIDTH / self.end))
            at += length
        return edges

    def ticks(self) -> list[float]:
        """Return round times, from 0 on, that label the axis."""
        days = _DAY * max(1, round(self.end / _DAY / _TICKS))
        step = next((float(step) for step in _TIME_STEPS if self.end / step <= _TICKS + 1), days)
        step = min(step, round_step(self.end))
        return [number * step for number in range(int(self.end / step + 1e-9) + 1)]


@frozen
class Chart:
    """A chart with a title, a sentence for readers who can't see the drawing, and series."""

    title: str
    summary: str
    axis: Axis
    areas: Sequence[Series] = ()
    """Series that stand on each other, from the bottom up."""
    lines: Sequence[Series] = ()
    show: Callable[[float], str] = "{:,g}".format
    """Returns the label of a value."""
    highest: float | None = None
    """The end of the scale, where the values don't give the end."""

    def draw(self) -> Element:
        """Return the chart as a figure."""
        top = self._top()
        ticks = _value_ticks(top)
        svg = make(
            "svg", role="img", viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}",
            preserveAspectRatio="none", aria_label=f"{self.title}. {self.summary}",
        )  # fmt: skip
        for tick in ticks:
            _line(svg, "grid", y=_HEIGHT * (1 - tick / top))
        for series, path in self._area_paths(top):
            SubElement(svg, "path", {"class": f"area {series.style}", "d": path})
        for mark in self.axis.marks:
            _line(svg, "mark", x=mark * _WIDTH / self.axis.end)
        for series in self.lines:
            path = _step_path(self.axis.edges(), series.values, top)
            SubElement(svg, "path", {"class": f"line {series.style}", "d": path})
        scale = [
            make("span", self.show(tick), style=f"top:{100 * (1 - tick / top):.2f}%")
            for tick in ticks
        ]
        times = [
            make("span", format_time(tick), style=f"left:{100 * tick / self.axis.end:.2f}%")
            for tick in self.axis.ticks()
        ]
        return make(
            "figure", "",
            make("figcaption", "", make("h3", self.title), make("p", self.summary), self._legend()),
            make("div", "", make("div", "", *scale, class_="scale", aria_hidden="true"), svg,
                 make("div", "", *times, class_="times", aria_hidden="true"), class_="plot"),
        )  # fmt: skip

    def _top(self) -> float:
        """Return the end of the scale: a round value above all values."""
        stacks = [sum(filter(None, values)) for values in self._stacks()]
        values = [value for series in self.lines for value in series.values if value is not None]
        highest = max([*stacks, *values, 0.0]) if self.highest is None else self.highest
        if highest < _LEAST:
            return 1.0
        step = round_step(highest)
        return step * -(-highest // step)

    def _stacks(self) -> Iterable[tuple[float | None, ...]]:
        return zip(*(series.values for series in self.areas), strict=True)

    def _area_paths(self, top: float) -> list[tuple[Series, str]]:
        edges = self.axis.edges()
        below = [0.0] * len(edges)
        paths: list[tuple[Series, str]] = []
        for series in self.areas:
            above = [
                base + (value or 0.0) for base, value in zip(below, series.values, strict=True)
            ]
            pieces = [
                f"M{left:.1f} {_y(base, top)}V{_y(value, top)}H{right:.1f}V{_y(base, top)}Z"
                for (left, right), base, value in zip(edges, below, above, strict=True)
                if value > base
            ]
            paths.append((series, "".join(pieces)))
            below = above
        return paths

    def _legend(self) -> Element:
        kinds = (("area", self.areas), ("line", self.lines))
        keys = [
            make("li", "", key(f"{kind} {series.style}", series.label))
            for kind, some in kinds
            for series in some
            if any(series.values)
        ]
        return make("ul", "", *keys, class_="legend")


def key(style: str, label: str) -> Element:
    """Return a sample of the drawing with the class *style*, and the *label*."""
    sample = make("i", class_=f"key {style}", aria_hidden="true")
    sample.tail = label
    return make("span", "", sample)


def _step_path(
    edges: Sequence[tuple[float, float]], values: Sequence[float | None], top: float
) -> str:
    """Return a path of steps, with a gap where there is no value."""
    path: list[str] = []
    is_drawing = False
    for (left, right), value in zip(edges, values, strict=True):
        if value is not None:
            path.append(f"{'V' if is_drawing else f'M{left:.1f} '}{_y(value, top)}H{right:.1f}")
        is_drawing = value is not None
    return "".join(path)


def _y(value: float, top: float) -> str:
    return f"{_HEIGHT * (1 - min(value, top) / top):.2f}"


def _line(svg: Element, style: str, *, x: float | None = None, y: float | None = None) -> None:
    x1, x2 = (0.0, _WIDTH) if x is None else (x, x)
    y1, y2 = (0.0, _HEIGHT) if y is None else (y, y)
    places = {"x1": x1, "x2": x2, "y1": y1, "y2": y2}
    SubElement(svg, "line", {"class": style, **{name: f"{at:.1f}" for name, at in places.items()}})


def round_step(highest: float) -> float:
    """Return 1, 2 or 5 times a power of ten, so that few such steps reach *highest*."""
    power = 10.0 ** floor(log10(highest / _TICKS))
    return next(f * power for f in (1, 2, 5, 10) if f * power * _TICKS >= highest * (1 - 1e-9))


def _value_ticks(top: float) -> list[float]:
    step = round_step(top)
    return [number * step for number in range(round(top / step) + 1)]


def format_time(seconds: float) -> str:
    """Return a time of the axis as ``0.5 s``, ``20 s``, ``2:05`` or ``1:02:05``."""
    return f"{seconds:.3g} s" if seconds < 60 else format_duration(seconds)  # noqa: PLR2004 - a minute


def bar(shares: Sequence[tuple[str, float]], label: str) -> Element:
    """Return a bar in parts: the class and the share of each part; *label* says the same in words."""
    svg = make(
        "svg", class_="bar", role="img", viewBox=f"0 0 {_WIDTH:g} 10",
        preserveAspectRatio="none", aria_label=label,
    )  # fmt: skip
    at = 0.0
    whole = sum(share for _, share in shares) or 1.0
    for style, share in shares:
        width = share * _WIDTH / whole
        SubElement(svg, "rect", {
            "class": style, "x": f"{at:.2f}", "y": "0", "width": f"{width:.2f}", "height": "10",
        })  # fmt: skip
        at += width
    return svg
