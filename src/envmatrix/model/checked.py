"""From the text of a YAML file to checked data, or to one clear error about what is wrong first.

The file may be of any form: the matrix, amendments, claims. Its JSON Schema gives the words.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from envmatrix.model.errors import InputError
from envmatrix.model.fields import ALLOWED, Given
from envmatrix.model.matrix import nearest
from envmatrix.model.yamldoc import Document, Location, parse

_Form = TypeVar("_Form", bound=Given)

Problem = tuple[Location, str, str]
"""Where something is wrong, what it is, and what to do."""


def schema_of(form: type[Given]) -> dict[str, Any]:
    """Return the JSON Schema of files of a form, for editors."""
    schema = form.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def text_of_file(path: Path, what: str, next_step: str) -> str:
    """Return the text of a file that a person wrote. `what` names it in words.

    Raises:
        InputError: it cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            "the file is not UTF-8 text", where=path.name, next_step="save it as UTF-8"
        ) from error
    except OSError as error:
        raise InputError(
            f"{what} cannot be read: {error.strerror}", where=str(path), next_step=next_step
        ) from error


def checked(
    text: str,
    name: str,
    form: type[_Form],
    contradictions: Callable[[_Form], Iterable[Problem]],
    *,
    is_a: str,
    docs: str,
    example: Callable[[], Mapping[str, Any]] = dict,
) -> _Form:
    """Read and check a YAML text of a form.

    `is_a` says what such a file is, and `docs` is where that is told. `contradictions` yields what
    the schema cannot see. `example` gives the data of a file that is right.

    Raises:
        InputError: the first thing that is wrong, with file, line, key and remedy.
    """
    document = parse(text, name)
    if not isinstance(document.data, dict):
        raise InputError(is_a, where=document.where(()), next_step=f"see {docs}")
    try:
        found = form.model_validate(document.data)
    except ValidationError as error:
        raise _explain(document, form, error.errors(include_url=False), example()) from None
    for location, wrong, next_step in contradictions(found):
        raise InputError(wrong, where=document.where(location), next_step=next_step)
    return found


# --- what is wrong with it -------------------------------------------------------------------

_KEY = "[key]"
"""The last part of a location where pydantic finds the key itself wrong."""
_SHOWN = 80
_LIST = "wrong type: a list is needed here, found {found}"
_MAPPING = "wrong type: keys with values are needed here, found {found}"
_IN_BRACKETS = "put it in square brackets: [...]; allowed is {allowed}"

# By pydantic's type of an error: what is wrong. Other types take the words of `_told`.
_WHAT = {
    "dict_type": _MAPPING,
    "is_instance_of": _LIST,
    "mapping_type": _MAPPING,
    "missing": 'the key "{key}" is missing',
    "model_type": _MAPPING,
    "sequence_str": _LIST,
    "string_too_long": "{found} is too long: at most {max_length} characters are allowed here",
    "string_type": "wrong type: text is needed here, found {found}",
    "too_short": "this is empty",
    "value_error": "{found} is not allowed here: {why}",
}
# By the same: what to do.
_NEXT = {
    "is_instance_of": _IN_BRACKETS,
    "missing": 'add "{key}": {allowed}',
    "sequence_str": _IN_BRACKETS,
    "string_too_long": "shorten it; allowed is {allowed}",
    "too_short": "give at least one entry; allowed is {allowed}",
    "value_error": "write it as pip does, for instance >=2.4,<2.8",
}


_SHAPES = (
    "dict_type",
    "is_instance_of",
    "mapping_type",
    "missing",
    "model_type",
    "sequence_str",
    "string_type",
    "too_short",
)
"""The types of errors where words alone do not show what the file should hold."""
_TOLD_AT_MOST = 390
"""The characters of a next step that has an example: a person has to find what is wrong in it."""


def _right(schema: _Schema, location: Location, example: Mapping[str, Any]) -> str:
    """Return the line that an example has at a location, as YAML; empty where it has none."""
    key, value = "", None
    node: object = example
    for index, part in enumerate(location):
        if isinstance(node, dict) and isinstance(part, str):
            free = "patternProperties" in schema.node(location[:index])
            node = node.get(part, next(iter(node.values()), None) if free else None)
            key, value = part, node
        elif isinstance(node, list) and isinstance(part, int):
            node = node[0]
        if node is None:
            return ""
    return f"{key}: {json.dumps(value)}" if key else ""


def _explain(
    document: Document,
    form: type[Given],
    problems: Sequence[ErrorDetails],
    example: Mapping[str, Any],
) -> InputError:
    # A key that is unknown explains best why another is missing.
    problem = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    location: Location = problem["loc"]
    schema = _Schema(form)
    what, next_step = _told(document, schema, problem)
    if problem["type"] in _SHAPES and (right := _right(schema, location, example)):
        told = f"{next_step}. For instance: {right}"
        next_step = told if len(told) <= _TOLD_AT_MOST else next_step
    place = tuple(part for part in location if part != _KEY)
    return InputError(what, where=document.where(place), next_step=next_step)


def _told(document: Document, schema: _Schema, problem: ErrorDetails) -> tuple[str, str]:
    """Return what is wrong, and what to do."""
    kind, location, found = problem["type"], problem["loc"], problem.get("input")
    key = str(location[-1])[:_SHOWN]
    raw = (document.spot(location).raw or "").strip()[:_SHOWN]
    if kind == "extra_forbidden":
        return f'unknown key "{key}"', nearest(key, _keys(schema.node(location[:-1])))
    if kind == "missing" and key == "reason":
        return 'the key "reason" is missing', "say in one sentence why"
    if kind == "string_type" and raw and found is not None:
        number = isinstance(found, int | float) and not isinstance(found, bool)
        read_as = f"the {'number' if number else 'value'} {_shown(found)}"
        return f"{raw} is read as {read_as}, but text is needed here", f'quote it: "{raw}"'
    context = problem.get("ctx", {})
    words = {
        "allowed": schema.allowed(location),
        "found": _shown(found),
        "key": key,
        "max_length": context.get("max_length"),
        "why": str(context.get("error", "")).partition("\n")[0],
    }
    return (
        _WHAT.get(kind, "{found} is not allowed here").format(**words),
        _NEXT.get(kind, "allowed is {allowed}").format(**words),
    )


def _shown(value: object) -> str:
    """Return a value as a person would name it, cut to a readable length."""
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str() | bytes():
            return f"{value!r:.{_SHOWN}}"
    return f"{value!s:.{_SHOWN}}"


_Node = Mapping[str, Any]


@cache
def _whole(form: type[Given]) -> _Node:
    return schema_of(form)


class _Schema:
    """The JSON Schema of a form, and what it says in words of a place in a file."""

    def __init__(self, form: type[Given]) -> None:
        self._whole = _whole(form)

    def allowed(self, location: Location) -> str:
        """Say in words, with an example, what is allowed at `location`."""
        if location[-1] == _KEY:
            return ALLOWED[next(iter(self.node(location[:-2])["patternProperties"]))]
        return self._in_words(self.node(location))

    def node(self, location: Location) -> _Node:
        """Return what the schema says of the value at a location."""
        node = self._whole
        for part in location:
            node = next(found for one in self._options(node) if (found := _below(one, part)))
        return self._options(node)[0]

    def _in_words(self, node: _Node) -> str:
        if "pattern" in node:
            return ALLOWED[node["pattern"]]
        if "const" in node:
            return json.dumps(node["const"])
        if "enum" in node:
            return " or ".join(map(json.dumps, node["enum"]))
        if "properties" in node:
            return f"a mapping with some of the keys {', '.join(_keys(node))}"
        if "items" in node:
            return f"a list of entries, each {self._first_in_words(node['items'])}"
        ((pattern, value),) = node["patternProperties"].items()
        return f"a mapping from {ALLOWED[pattern]} to {self._first_in_words(value)}"

    def _first_in_words(self, node: _Node) -> str:
        return self._in_words(self._options(node)[0])

    def _options(self, node: _Node) -> list[_Node]:
        """Return the alternatives of a node, with references followed."""
        return [
            self._whole["$defs"][one["$ref"].rpartition("/")[2]] if "$ref" in one else one
            for one in node.get("anyOf", [node])
        ]


def _keys(node: _Node) -> list[str]:
    return list(node.get("properties", ()))


def _below(node: _Node, part: str | int) -> _Node | None:
    """Return what the schema says of the value under a key or an index of a node."""
    if isinstance(part, int):
        return node.get("items")
    any_name: Mapping[str, _Node] = node.get("patternProperties", {})
    found: _Node | None = node.get("properties", {}).get(part)
    return found or next(iter(any_name.values()), None)
