"""A report as a picture (SVG 1.1). Pure.

One bar for each series that has a peer: how long it is says the ratio, and a line at 1 stands for the peer.
"""

from html import escape

from romana.bench.report import Report

__all__ = ["svg"]

WIDTH, LABEL_WIDTH, ROW, TOP, BAR = 900, 420, 26, 56, 16
OURS, LINE, TEXT = "#2563a8", "#b03030", "#222222"


def svg(report: Report) -> str:
    """The picture; where no series has a peer, it says so."""
    ratios = list(report.ratios())
    longest = max([1.0, *(ratio for _, ratio in ratios)])
    scale = (WIDTH - LABEL_WIDTH - 90) / longest
    bars = [_bar(row, f"{series.name} / {series.peer}", ratio, scale) for row, (series, ratio) in enumerate(ratios)]
    height = TOP + ROW * max(1, len(bars)) + 16
    one = LABEL_WIDTH + scale
    line = f'<line x1="{one:.1f}" y1="{TOP - 10}" x2="{one:.1f}" y2="{height - 10}" stroke="{LINE}" stroke-dasharray="4 3"/>'
    title = f"romana bench {report.benchmark}, {report.began}"
    under = "ratio of medians; the dashed line is the peer or limit named after the stroke" if bars else "no series has a peer"
    head = _text(12, 22, title, size=16) + _text(12, 40, under, size=11)
    body = head + (line if bars else "") + "".join(bars)
    background = f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}">{background}{body}</svg>\n'


def _bar(row: int, label: str, ratio: float, scale: float) -> str:
    top = TOP + row * ROW
    bar = f'<rect x="{LABEL_WIDTH}" y="{top}" width="{ratio * scale:.1f}" height="{BAR}" fill="{OURS}"/>'
    value = _text(LABEL_WIDTH + ratio * scale + 6, top + 12, f"{ratio:g}")
    return _text(12, top + 12, label) + bar + value


def _text(left: float, base: float, words: str, size: int = 12) -> str:
    font = f'font-family="sans-serif" font-size="{size}" fill="{TEXT}"'
    return f'<text x="{left:.1f}" y="{base}" {font}>{escape(words)}</text>'
