"""Memory and processor time as Kubernetes writes them (its "Resource Management" page)."""

from __future__ import annotations

import math
import re

from piccolo.core.errors import InvalidSpec
from piccolo.core.words import kind, show

MAX_BYTES = 1 << 50
MAX_CORES = 4096.0

_UNITS: dict[str, int] = {
    "": 1,
    **{unit: 1000**power for power, unit in enumerate(("k", "M", "G", "T"), 1)},
    **{unit: 1024**power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti"), 1)},
}
MEMORY = r"[0-9]{1,15}(?:\.[0-9]{1,6})?(?:k|M|G|T|(?:Ki|Mi|Gi|Ti)B?)?"
CPU = r"[0-9]{1,9}m|[0-9]{1,5}(?:\.[0-9]{1,6})?"
_NUMBER = re.compile(r"[0-9.]+")


def parse_memory(value: object) -> int:
    """Bytes. Takes 65536, "64Mi", "64MiB", "1.5Gi", "128M". Raises `InvalidSpec` otherwise."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str):
        raise InvalidSpec(f"must be a size such as 64Mi, not {_thing(value)}")
    if not re.fullmatch(MEMORY, text):
        raise InvalidSpec(
            f"{_thing(value)} is not a size: write bytes, or a number with one of the units"
            " Ki, Mi, Gi, Ti (of 1024) or k, M, G, T (of 1000), such as 64Mi"
        )
    number = _NUMBER.match(text)
    assert number is not None
    size = round(float(number[0]) * _UNITS[text[number.end() :].removesuffix("B")])
    if not 0 < size <= MAX_BYTES:
        raise InvalidSpec(f"{show(value)} is not possible: more than 0, at most 1024Ti")
    return size


def parse_cpu(value: object) -> float:
    """Cores. Takes 2, 0.5, "0.5" and "500m". Raises `InvalidSpec` otherwise."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        cores = float(value) if abs(value) < 1e9 else math.inf
    elif isinstance(value, str) and re.fullmatch(CPU, value):
        cores = float(value[:-1]) / 1000 if value.endswith("m") else float(value)
    else:
        raise InvalidSpec(
            f"{_thing(value)} is no number of cores: write such as 2, 0.5 or 500m (thousandths)"
        )
    if not 0.001 <= cores <= MAX_CORES:  # NaN is neither
        raise InvalidSpec(f"{show(value)} is not possible: from 1m to {MAX_CORES:.0f} cores")
    return cores


def _thing(value: object) -> str:
    return show(value) if isinstance(value, str | int | float) else kind(value)
