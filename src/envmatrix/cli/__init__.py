"""The command line: one module for each group of commands, and one that prints."""

import gc

# What an import makes stays. To look there for garbage takes 7 % of a command with little to do.
gc.disable()
from envmatrix.cli.app import main  # noqa: E402

gc.freeze()
gc.set_threshold(100_000)
gc.enable()

__all__ = ["main"]
