"""The exit codes of the program. docs/commands.md describes them."""

from __future__ import annotations

DEFECT = 70
"""A defect of envmatrix itself (EX_SOFTWARE of sysexits.h)."""

TOLD = (
    "0   done",
    "1   a cell is broken, or --check or --fail-on-regression found a difference",
    "2   what was given is wrong: an option, a selector, a file",
    "3   the surroundings failed: engine, network, disk; or a cell stays unknown",
    f"{DEFECT}  a defect of envmatrix",
    "130 stopped by Ctrl-C; 143 by SIGTERM, 129 by SIGHUP",
)
"""What each exit code means, as helps tell it."""
