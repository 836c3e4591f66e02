"""A bounded run of all targets: the same examples every time. The long one is `./dev fuzz`."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from tests.fuzz import target as module
from tests.fuzz.target import Target, TooLong, targets


@pytest.mark.slow
@pytest.mark.parametrize("target", [pytest.param(t, id=name) for name, t in targets().items()])
def test_only_our_own_errors(target: Target) -> None:
    target.run(target.quick)


def test_an_input_that_never_ends_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SECONDS", 0.02)

    def check(_: str) -> None:
        while True:
            pass

    endless = Target("endless", "", st.just("an input"), check, 1, ())
    with pytest.raises(TooLong, match="an input"):
        endless.run(1)
