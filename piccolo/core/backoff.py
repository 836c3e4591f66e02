"""Back-off with equal jitter: pauses that double up to a cap, half of each left to chance."""

from __future__ import annotations


def pause(attempt: int, chance: float, *, base: float = 0.25, cap: float = 5.0) -> float:
    """Seconds to wait after the failed `attempt` (1, 2, 3 …).

    `chance` is a random number in 0..1, the caller's: many agents that lost the same master must
    not come back in step. The pause lies between half and all of the doubled base, below the cap.
    """
    ceiling = min(cap, base * 2.0 ** min(attempt - 1, 32))
    return ceiling * (0.5 + 0.5 * chance)
