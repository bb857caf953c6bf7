"""Changes of the text of `matrix.yaml` that a program makes. Comments and layout stay.

Only what is added is written. Everything else is to the letter what a person wrote.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

import yaml
from packaging.version import Version
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

_PYTHON: Final = ("axes", "python")
_AS_OF: Final = ("resolve", "as_of")


def extended(
    text: str, releases: Mapping[str, Sequence[str]], pythons: Sequence[str], as_of: str = ""
) -> str:
    """Return the text of a valid matrix with more releases of frameworks, and more Pythons.

    Each stands behind the newest that is older. `as_of` is the new day of the resolver; empty: the
    old one stays.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    edits: list[tuple[int, int, str]] = []
    for framework, versions in releases.items():
        edits += _additions(text, _at(root, ("frameworks", framework, "versions")), versions)
    edits += _additions(text, _at(root, _PYTHON), pythons)
    if as_of:
        node = _at(root, _AS_OF)
        edits.append((node.start_mark.index, node.end_mark.index, json.dumps(as_of)))
    for start, end, new in sorted(edits, key=lambda edit: edit[:2], reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _at(node: Node | None, path: Sequence[str]) -> Node:
    for name in path:
        assert isinstance(node, MappingNode)  # noqa: S101  (for the type checker: it is valid)
        node = next(value for key, value in node.value if key.value == name)
    assert node is not None  # noqa: S101  (for the type checker)
    return node


def _additions(text: str, node: Node, new: Sequence[str]) -> list[tuple[int, int, str]]:
    """Return the edits that put values into a list, the new ones of one place in one edit."""
    assert isinstance(node, SequenceNode)  # noqa: S101  (for the type checker: it is valid)
    there: list[ScalarNode] = list(node.value)
    found: dict[int, str] = {}
    for value in sorted(new, key=Version):
        older = [one for one in there if Version(one.value) < Version(value)]
        after = max(older, key=lambda one: Version(one.value), default=there[-1])
        start, at = after.start_mark.index, after.end_mark.index
        if node.flow_style:
            put = f", {json.dumps(value)}"
        else:
            # A comment behind the older one stays behind it.
            at = text.index("\n", at)
            before = text[text.rindex("\n", 0, start) + 1 : start]
            put = f"\n{before}{json.dumps(value)}"
        found[at] = found.get(at, "") + put
    return [(at, at, put) for at, put in found.items()]
