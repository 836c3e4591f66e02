"""Draws what a terminal showed as an SVG, for the README.

    ./dev demo | tee /dev/tty | .venv/bin/python -m tools.picture docs/demo.svg
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text


def main() -> None:
    console = Console(record=True, width=118, file=io.StringIO(), force_terminal=True)
    for line in sys.stdin.read().splitlines():
        console.print(Text.from_ansi(line), no_wrap=True, overflow="crop")
    Path(sys.argv[1]).write_text(console.export_svg(title="./dev demo"), encoding="utf-8")


if __name__ == "__main__":
    main()
