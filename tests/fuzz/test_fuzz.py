"""A bounded run of all targets: the same examples every time. The long one is `./dev fuzz`."""

from __future__ import annotations

import pytest

from tests.fuzz.target import Target, targets

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("target", [pytest.param(t, id=name) for name, t in targets().items()])
def test_only_our_own_errors(target: Target) -> None:
    target.run(target.quick)
