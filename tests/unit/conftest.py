"""Property tests have no deadline: on a shared machine one example takes several times as long as another."""

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
