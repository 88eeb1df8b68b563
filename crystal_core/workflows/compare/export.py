"""A finished comparison as a table (CSV) and as a page of its own (HTML) that opens without internet."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crystal_core.drawing.figures.colours import COLUMNS
from crystal_core.files.property_table import spreadsheet_text
from crystal_core.properties import fixed

if TYPE_CHECKING:
    from crystal_core.records import RunResult

STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:15px/1.45 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:.6rem 0 1.4rem}"
    "th,td{padding:.3rem .7rem;border-bottom:1px solid #8885;text-align:left;vertical-align:top}"
    "td.n{font-variant-numeric:tabular-nums}.box{overflow-x:auto}"
    "b.dot{display:inline-block;width:.75em;height:.75em;border-radius:50%;margin-right:.4em}"
    "small{opacity:.75}svg{max-width:100%;height:auto}summary{cursor:pointer}pre{overflow-x:auto}"
)
DECIMALS = {"g/cm³": 2, "Å³": 2, "eV": 2, "s": 2, "MB": 0}  # of a number in this unit
OTHER_DECIMALS = 3
WIDTH = 420  # pixels; a drawing of intervals has half of it


def number_text(value: float, unit: str, kind: str) -> str:
    """A number of a metric with its unit.

    >>> cases = [(1.0, "%", "cost"), (4.31567, "g/cm³", "mean"), (-0.0102, "", "mean"), (10.0, "", "cost")]
    >>> tuple(number_text(*case) for case in cases)
    ('100.0 %', '4.32 g/cm³', '−0.010', '10')
    """
    if kind == "cost" and unit != "%" and (abs(value) >= 10 or float(value).is_integer()):
        return f"{value:.0f} {unit}".rstrip()
    return f"{_digits(value, unit)} {unit}".rstrip()


def difference_text(difference: float, unit: str) -> str:
    """A difference of two numbers of a metric, with its sign and unit.

    >>> difference_text(0.0587, "%"), difference_text(-0.5887, "eV/atom")
    ('+5.9 percentage points', '−0.589 eV/atom')
    """
    digits = _digits(difference, unit, signed=True)
    return f"{digits} {'percentage points' if unit == '%' else unit}".rstrip()


def _digits(value: float, unit: str, *, signed: bool = False) -> str:
    """As many decimals for a number as for the ends of its interval."""
    if unit == "%":
        return fixed(100 * value, 1, signed=signed)
    return fixed(value, DECIMALS.get(unit, OTHER_DECIMALS), signed=signed)


def interval_text(ci95: Sequence[float] | None, unit: str) -> str:
    """An interval in the unit of its number; empty without one.

    >>> interval_text([0.3006, 0.9544], "%"), interval_text(None, "%")
    ('30.1 to 95.4', '')
    """
    if ci95 is None:
        return ""
    low, high = (_digits(x, unit) for x in ci95)
    return f"{low} to {high}"


def comparison_csv(result: RunResult) -> str:
    """One line per metric and column, then one per paired difference; shares from 0 to 1, all digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["what", "column", "name", "metric", "unit", "value", "ci95_low", "ci95_high", "n", "better"]
    )
    units = {
        metric["name"]: "share" if metric["unit"] == "%" else metric["unit"] for metric in result["metrics"]
    }
    names = {column["letter"]: column["name"] for column in result["columns"]}
    for column in result["columns"]:
        for metric, estimate in column["metrics"].items():
            row = [
                "metric",
                column["letter"],
                spreadsheet_text(column["name"]),
                metric,
                units.get(metric, ""),
            ]
            low, high = estimate["ci95"] or ("", "")
            writer.writerow([*row, estimate["value"], low, high, estimate["n"], estimate["better"]])
    for pair in result["paired"]:
        both = spreadsheet_text(f"{names[pair['b']]} less {names[pair['a']]}")
        low, high = pair["ci95"] or ("", "")
        row = ["difference", f"{pair['b']}-{pair['a']}", both, pair["metric"], units.get(pair["metric"], "")]
        writer.writerow([*row, pair["difference"], low, high, pair.get("n", ""), ""])
    return text.getvalue()


def comparison_html(result: RunResult, title: str = "Comparison of crystal models") -> str:
    """A whole page: differing settings, metrics with drawn intervals, paired differences, CIFs.

    Every text is escaped; the page loads nothing.
    """
    parts = [f"<h1>{_e(title)}</h1>", f"<p>{_e(_sentence(result))}</p>"]
    parts += [f"<p>{_e(note)}</p>" for note in result.get("notes", [])]
    parts += ["<h2>Columns and the settings that differ</h2>", _settings(result)]
    parts += ["<h2>Metrics</h2>", _metrics(result), f"<p><small>{_e(READING)}</small></p>"]
    if result["paired"]:
        parts += ["<h2>Paired differences</h2>", _paired(result), f"<p><small>{_e(PAIRING)}</small></p>"]
    parts += ["<h2>Crystals</h2>", *(_crystals(column) for column in result["columns"])]
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{_e(title)}</title>'
    )
    head = f"<head>{head}<style>{STYLE}</style></head>"
    return f'<!doctype html><html lang="en">{head}<body>{"".join(parts)}</body></html>\n'


READING = (
    "In brackets: 95 % intervals, Wilson's for shares (with the effective number of samples where targets "
    "have several) and bootstrap for means, or Student's t where fewer than ten count, cut at 0 for positive "
    "quantities. Bold: best, with an interval that overlaps that of no other column."
)
PAIRING = (
    "Second less first over the same targets and seeds. Shares: Bonett and Price's interval for paired "
    "proportions; means: bootstrap, or Student's t. An interval that contains 0 shows no difference."
)


def _sentence(result: RunResult) -> str:
    targets = result.get("targets", [])
    labels = [str(target["label"]) for target in targets[:6]] + (["…"] if len(targets) > 6 else [])
    settings = result["settings"]
    of = f"of {', '.join(labels)}, " if labels else ""
    return (
        f"{of}{settings['n']} samples of each, seed {settings['seed']}.".capitalize()
        if not of
        else (
            f"{len(targets)} target{'s' if len(targets) > 1 else ''} ({', '.join(labels)}), {settings['n']} "
            f"samples of each, seed {settings['seed']}, {result['seconds']:.0f} s in all."
        )
    )


def _settings(result: RunResult) -> str:
    rows = [
        [_e(name.replace("_", " ")), *map(_setting_text, values)]
        for name, values in result["differing_settings"].items()
    ]
    return _table(["", *_heads(result)], rows)


def _metrics(result: RunResult) -> str:
    rows = []
    for metric in result["metrics"]:
        cells = []
        for column in result["columns"]:
            estimate = column["metrics"].get(metric["name"])
            if estimate is None:
                cells.append("–")
                continue
            text = _e(number_text(estimate["value"], metric["unit"], metric["kind"]))
            text = f"<strong>{text}</strong>" if estimate["better"] else text
            interval = interval_text(estimate["ci95"], metric["unit"])
            cells.append(
                f"{text} <small>{f'({_e(interval)})' if interval else ''} n = {estimate['n']}</small>"
            )
        title = f'<span title="{_e(metric["meaning"])}">{_e(metric["title"])}</span>'
        rows.append([title, *cells, _drawn(metric, result["columns"])])
    return _table(["", *_heads(result), "value and interval"], rows)


def _drawn(metric: Mapping[str, str], columns: Sequence[Mapping[str, Any]]) -> str:
    """The values of one metric as dots with their intervals, on one axis."""
    estimates = [(i, column["metrics"].get(metric["name"])) for i, column in enumerate(columns)]
    known = [(i, one) for i, one in estimates if one is not None and one["ci95"] is not None]
    if not known:
        return ""
    ends = [x for _, one in known for x in (*one["ci95"], one["value"])]
    low, high = (0.0, 1.0) if metric["unit"] == "%" else (min(ends), max(ends))
    span = (high - low) or 1.0

    def at(x: float) -> float:
        return round(8 + (x - low) / span * (WIDTH / 2 - 16), 1)

    lines = []
    for line, (i, one) in enumerate(known):
        y, colour = 8 + line * 12, COLUMNS[i]
        lines.append(
            f'<line x1="{at(one["ci95"][0])}" x2="{at(one["ci95"][1])}" y1="{y}" y2="{y}" '
            f'stroke="{colour}" stroke-width="2"/>'
            f'<circle cx="{at(one["value"])}" cy="{y}" r="4" fill="{colour}"/>'
        )
    wide, high = WIDTH // 2, 8 + 12 * len(known)
    size = f'width="{wide}" height="{high}" viewBox="0 0 {wide} {high}"'
    return f'<svg {size} role="img" aria-label="values with intervals">{"".join(lines)}</svg>'


def _paired(result: RunResult) -> str:
    metrics = {metric["name"]: metric for metric in result["metrics"]}
    rows = []
    for pair in result["paired"]:
        metric = metrics[pair["metric"]]
        interval = "" if pair["ci95"] is None else f"({interval_text(pair['ci95'], metric['unit'])})"
        rows.append(
            [
                _e(f"{pair['b']} less {pair['a']}"),
                _e(metric["title"]),
                _e(difference_text(pair["difference"], metric["unit"])),
                _e(interval),
                str(pair["n"]),
            ]
        )
    return _table(["columns", "metric", "difference", "95 % interval", "pairs"], rows)


def _crystals(column: Mapping[str, Any]) -> str:
    cifs = "".join(
        f"<details><summary>{_e(record['id'])} · "
        f"{_e((record['space_group'] or {}).get('symbol', 'no symmetry'))} · {record['density']:.2f} "
        f"g/cm³</summary><pre>{_e(record['cif'])}</pre></details>"
        for record in column["crystals"]
    )
    title = f"{column['letter']}: {_e(column['name'])}, {len(column['crystals'])} crystals"
    return f"<details><summary>{title}</summary>{cifs}</details>"


def _heads(result: RunResult) -> list[str]:
    return [
        f'<b class="dot" style="background:{COLUMNS[i]}"></b>{column["letter"]}: {_e(column["name"])}'
        for i, column in enumerate(result["columns"])
    ]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{cell}</th>" for cell in heads)
    body = "".join(f"<tr>{''.join(f'<td class=n>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="box"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _setting_text(value: Any) -> str:
    return "–" if value is None else _e(value)


def _e(text: object) -> str:
    return html.escape(str(text))
