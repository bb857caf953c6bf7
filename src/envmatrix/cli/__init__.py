"""The command line: one module for each group of commands, and one that prints."""

from envmatrix.cli.app import main

__all__ = ["main"]
