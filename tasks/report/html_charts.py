"""Charts of a report as static SVG, drawn by Vega-Lite (``vl_convert``) on our side.

Nothing of it runs in the browser: colours are variables of the page's style sheet, so that a chart follows dark mode
and print. What comes back is held to a list of elements and attributes before it goes into a page: it is not escaped.
Only numbers, dates and our own words for severities go in, never text of a repository.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any
from xml.etree import ElementTree

from tasks.core.errors import NightwardenError

_SVG = "http://www.w3.org/2000/svg"
_ELEMENTS = frozenset({"svg", "g", "path", "line", "text", "tspan", "rect", "title", "clipPath", "defs"})
_ATTRIBUTES = frozenset(
    {"version", "class", "width", "height", "viewBox", "fill", "fill-opacity", "stroke", "stroke-width", "opacity",
     "stroke-miterlimit", "stroke-dasharray", "stroke-opacity", "stroke-linecap", "stroke-linejoin", "transform",
     "role", "aria-roledescription", "aria-hidden", "aria-label", "d", "x", "y", "x1", "x2", "y1", "y2", "dx", "dy",
     "pointer-events", "text-anchor", "font-family", "font-size", "font-weight", "font-style", "display", "id",
     "clip-path"}
)  # fmt: skip
#: No address, no script: a path, a colour, a variable of the style sheet, or words.
_VALUE = re.compile(r"^(?!.*(?:javascript|data|https?):)[^<>]*$", re.DOTALL | re.IGNORECASE)
_WIDTH, _HEIGHT = 640, 190
_INK, _GRID = "var(--muted)", "var(--line)"


class ChartError(NightwardenError):
    """A chart could not be drawn, or holds what no chart of ours holds."""


def stacked(rows: Sequence[Mapping[str, Any]], order: Sequence[str], *, told: str) -> str:
    """Areas of ``rows`` (day, kind, count) one upon the other, ``order`` from the bottom; colours ``--c-<kind>``."""
    colour = {
        "field": "kind",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": list(order), "range": [f"var(--c-{k})" for k in order]},
    }
    rank = [{**r, "rank": order.index(r["kind"])} for r in rows]
    return _drawn(
        {
            "data": {"values": rank},
            "mark": {"type": "area", "interpolate": "step-after", "opacity": 0.92},
            "encoding": {
                "x": _days({r["day"] for r in rows}),
                "y": {"field": "count", "type": "quantitative", "stack": "zero", "title": None, "axis": _COUNTS},
                "color": colour,
                "order": {"field": "rank", "type": "quantitative"},
            },
        },
        told,
    )


def bars(rows: Sequence[Mapping[str, Any]], order: Sequence[str], *, told: str) -> str:
    """Bars of ``rows`` (day, kind, count), those of a week beside each other; colours ``--c-<kind>``."""
    scale = {"domain": list(order), "range": [f"var(--c-{k})" for k in order]}
    return _drawn(
        {
            "data": {"values": list(rows)},
            "mark": {"type": "bar"},
            "encoding": {
                "x": {
                    "field": "day",
                    "type": "ordinal",
                    "title": None,
                    "sort": None,
                    "axis": {"labelAngle": 0, "labelOverlap": True, "labelSeparation": 8},
                },
                "xOffset": {"field": "kind", "type": "nominal", "sort": list(order)},
                "y": {"field": "count", "type": "quantitative", "title": None, "axis": _COUNTS},
                "color": {"field": "kind", "type": "nominal", "legend": None, "scale": scale},
            },
        },
        told,
    )


_COUNTS: Mapping[str, Any] = {"tickCount": 5, "tickMinStep": 1, "format": "d"}


#: Of a chart over so many days each has its tick; else Vega chooses, and would put several on each of a few.
_FEW_DAYS = 10


def _days(days: Collection[str]) -> dict[str, Any]:
    axis: dict[str, Any] = {"format": "%d %b", "labelOverlap": True}
    if (date.fromisoformat(max(days)) - date.fromisoformat(min(days))).days <= _FEW_DAYS:
        axis["tickCount"] = "day"
    return {"field": "day", "type": "temporal", "title": None, "axis": axis}


def _drawn(spec: Mapping[str, Any], told: str) -> str:
    import vl_convert  # 24 ms, and a second for its first chart

    axis = {"labelColor": _INK, "titleColor": _INK, "gridColor": _GRID, "domainColor": _GRID, "tickColor": _GRID}
    whole = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": _WIDTH,
        "height": _HEIGHT,
        "background": None,
        "config": {
            "aria": False,  # the whole is told at once, and its numbers stand in a table beside it
            "font": "system-ui, sans-serif",
            "axis": {**axis, "titleFontWeight": "normal", "labelFontSize": 11, "titleFontSize": 11},
            "axisX": {"grid": False},
            "view": {"stroke": None},
        },
        **spec,
    }
    try:
        svg = vl_convert.vegalite_to_svg(whole, vl_version="6.4", allowed_base_urls=[])
    except ValueError as e:
        raise ChartError(f"a chart could not be drawn: {e}") from e
    return checked(svg, told)


def checked(svg: str, told: str) -> str:
    """The same picture, scaling, with ``told`` as its words for those who do not see it. Raises ChartError."""
    ElementTree.register_namespace("", _SVG)
    try:
        root = ElementTree.fromstring(svg)  # noqa: S314 - what our own library drew of our own numbers
    except ElementTree.ParseError as e:
        raise ChartError("a chart is no XML") from e
    for element in root.iter():
        name = element.tag.removeprefix(f"{{{_SVG}}}")
        if name not in _ELEMENTS:
            raise ChartError(f"a chart holds <{name}>")
        for attribute, value in element.attrib.items():
            if attribute not in _ATTRIBUTES or not _VALUE.match(value):
                raise ChartError(f"a chart holds {attribute}={value[:60]!r}")
    root.attrib.pop("width", None)
    root.attrib.pop("height", None)
    root.attrib.update({"role": "img", "aria-label": told, "class": "chart"})
    for child in root:
        child.attrib["aria-hidden"] = "true"
    return ElementTree.tostring(root, encoding="unicode")
