"""The fixtures of tests that run commands on the small project and the fake engine."""

from small_fixtures import command, fake, locked, offline, project

__all__ = ["command", "fake", "locked", "offline", "project"]
