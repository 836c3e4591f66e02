"""Stories begin with the first end-to-end test, whichever that is; see `tests.e2e.stories`."""

from __future__ import annotations

import pytest

from tests.e2e.stories import Stories, wanted_by


@pytest.fixture(scope="session", autouse=True)
def stories(request: pytest.FixtureRequest) -> Stories:
    return Stories(wanted_by(request.session.items))
