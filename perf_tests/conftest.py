"""What the suite's tests share: rounds with enough work in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_rayperf.data.sources import ImageSource


@pytest.fixture(scope="session")
def imagenette(imagenette: ImageSource, pytestconfig: pytest.Config) -> ImageSource:
    """The images of the profile, read in as many passes as a round needs to outweigh its start-up."""
    from pytest_rayperf.resources import resources_key

    return imagenette.repeat(pytestconfig.stash[resources_key].options.profile.passes)
