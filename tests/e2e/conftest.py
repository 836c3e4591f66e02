"""Stories begin with the first end-to-end test, whichever that is; see `tests.e2e.stories`.

With several processes of tests they are told in one of them, which begins with those who ask.
"""

from __future__ import annotations

import pytest

from tests.e2e.stories import Stories, tells_stories, wanted_by


def _is_one_of_several(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")  # of xdist


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _is_one_of_several(config):
        items.sort(key=lambda item: not tells_stories(item.path))


@pytest.fixture(scope="session")
def stories(request: pytest.FixtureRequest) -> Stories:
    return Stories(wanted_by(request.session.items))


@pytest.fixture(autouse=True)
def _begin(request: pytest.FixtureRequest) -> None:
    if not _is_one_of_several(request.config) or tells_stories(request.node.path):
        request.getfixturevalue("stories")
