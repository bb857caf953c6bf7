"""The fixtures of tests that run cells of the small project on the fake engine."""

from small_fixtures import fake, locked, offline, project

__all__ = ["fake", "locked", "offline", "project"]
