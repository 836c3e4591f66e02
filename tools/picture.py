"""Draws what the demo printed as an SVG, for the README.

Usage: ./dev demo | .venv/bin/python -m tools.picture docs/demo.svg [FIRST-LINE LAST-LINE]
"""

from __future__ import annotations

import re
import sys
from html import escape
from pathlib import Path

COLUMNS = 104
WIDTH, HEIGHT, MARGIN = 8.0, 17, 16  # of a character cell, in pixels; around it all
COLOURS = (
    (r"^ *\$ .*", "#7cc7ff"),
    (r"^\d\. .*", "#ffffff"),
    (r"=> .*", "#9be38f"),
    (r"\bReady\b", "#9be38f"),
    (r"\bNotReady\b", "#ff8b8b"),
    (r"\bSilent\b|\bwarning\b", "#ffd479"),
)


def drawn(line: str, y: int) -> str:
    """One line: a text with coloured spans, kept aligned by nothing but its fixed-width font."""
    parts: list[tuple[str, str]] = [(line, "")]
    for pattern, colour in COLOURS:
        split: list[tuple[str, str]] = []
        for text, fill in parts:
            at = 0
            for match in re.finditer(pattern, text) if not fill else ():
                split += [(text[at : match.start()], ""), (match[0], colour)]
                at = match.end()
            split.append((text[at:], fill))
        parts = split
    spans = "".join(
        f'<tspan fill="{fill}">{escape(text)}</tspan>' if fill else escape(text)
        for text, fill in parts
    )
    return f'<text x="{MARGIN}" y="{y}" xml:space="preserve">{spans}</text>'


def main() -> None:
    target, *span = sys.argv[1:]
    lines = sys.stdin.read().splitlines()
    first, last = (int(n) for n in span) if span else (1, len(lines))
    shown = [line[:COLUMNS].rstrip() for line in lines[first - 1 : last]]
    width, height = COLUMNS * WIDTH + 2 * MARGIN, len(shown) * HEIGHT + 2 * MARGIN
    texts = [drawn(line, MARGIN + (n + 1) * HEIGHT - 4) for n, line in enumerate(shown) if line]
    Path(target).write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height}"'
        f' width="{width:g}" height="{height}">\n'
        '<rect width="100%" height="100%" rx="8" fill="#1e1f26"/>\n'
        '<g font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="13"'
        ' fill="#c8ccd4">\n' + "\n".join(texts) + "\n</g>\n</svg>\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
