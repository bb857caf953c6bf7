"""YAML text to plain data that remembers where each value stood.

PyYAML's own loader keeps the last of two equal keys and forgets positions. People who edit a
matrix need to be told both. Aliases are refused: they can expand a small file without bound.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from envmatrix.model.errors import InputError

MAX_BYTES = 200_000
_DEEPEST = 32
"""Levels of collections. A matrix has six."""
_Loader = yaml.SafeLoader | yaml.CSafeLoader
_QUICK: type[_Loader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Reads with libyaml, in a tenth of the time. A PyYAML may have been built without it."""
_TEXT = "tag:yaml.org,2002:str"
_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
# What PyYAML raises, as it is, for a date, number, escape or tag that makes no sense.
_SENSELESS = (ArithmeticError, AttributeError, LookupError, ValueError)

Location = tuple[str | int, ...]


class _Mark(Protocol):
    """A place as PyYAML and libyaml tell it, counted from 0."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in the file (counted from 1) and the raw text that stands there, if a scalar."""

    line: int
    column: int
    raw: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data, with the place of each value by its path of keys and indexes."""

    name: str
    data: Any
    spots: Mapping[Location, Spot]

    def spot(self, location: Location) -> Spot:
        """Return the place of the deepest part of `location` that the file holds.

        Parts that the file does not know (a validator adds the branch of a union it tried)
        are passed over.
        """
        path: Location = ()
        for part in location:
            if (*path, part) in self.spots:
                path = (*path, part)
        return self.spots[path]

    def where(self, location: Location) -> str:
        """Return `file:line:column (key)` for `location`."""
        spot = self.spot(location)
        key = ".".join(str(part) for part in location)
        return f"{self.name}:{spot.line}:{spot.column}" + (f" ({key})" if key else "")


def parse(text: str, name: str) -> Document:
    """Read one YAML document of at most `MAX_BYTES`.

    Raises:
        InputError: not YAML, a key twice, an alias, an unusual tag, or too large.
    """
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise InputError(
            f"{name} is larger than {MAX_BYTES} bytes",
            where=name,
            next_step="a matrix names versions, it does not list cells: split it up",
        )
    spots: dict[Location, Spot] = {}
    try:
        loader, node = _composed(text, name)
        if node is None:
            raise InputError(
                "the file is empty",
                where=name,
                next_step="write `schema: 1`, and what else such a file has",
            )
        data = _plain(loader, node, (), spots, name)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InputError(
            f"this is not valid YAML: {error.problem or error.context}",
            where=_place(name, mark),
            next_step=_mend(name, mark, text),
        ) from error
    except (yaml.YAMLError, *_SENSELESS) as error:
        raise InputError(
            f"this is not valid YAML: {error}",
            where=name,
            next_step="remove control characters; save the file as UTF-8",
        ) from error
    return Document(name=name, data=data, spots=spots)


def _mend(name: str, mark: _Mark | None, text: str) -> str:
    lines = text.splitlines()
    if mark and mark.line < len(lines) and "\t" in lines[mark.line]:
        return (
            "YAML takes no tab where a line begins: write spaces, as "
            f"`sed -i 's/\\t/  /g' {shlex.quote(name)}` does"
        )
    return "mend the line; quoting the value often helps"


def _composed(text: str, name: str) -> tuple[_Loader, Node | None]:
    """Return the nodes of a text, and what makes values of them."""
    with suppress(yaml.YAMLError, *_SENSELESS):
        return _composed_by(_QUICK, text, name)
    # The parser in Python says better what is wrong, and says the same everywhere.
    return _composed_by(yaml.SafeLoader, text, name)


def _composed_by(form: type[_Loader], text: str, name: str) -> tuple[_Loader, Node | None]:
    """Compose the nodes of a text. Aliases and deep nesting are refused before that."""
    depth = 0
    for event in yaml.parse(text, Loader=form):
        if isinstance(event, yaml.AliasEvent):
            raise InputError(
                "aliases (*name) are not accepted here",
                where=_place(name, event.start_mark),
                next_step="write the value out",
            )
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise InputError(
                "the file is nested too deeply",
                where=_place(name, event.start_mark),
                next_step="a matrix is at most six levels deep",
            )
    loader = form(text)
    return loader, loader.get_single_node()


def _place(name: str, mark: _Mark | None) -> str:
    return f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name


def _plain(
    loader: _Loader,
    node: Node,
    path: Location,
    spots: dict[Location, Spot],
    name: str,
) -> object:
    mark = node.start_mark
    spots[path] = Spot(
        mark.line + 1, mark.column + 1, node.value if isinstance(node, ScalarNode) else None
    )
    where = f"{_place(name, mark)} ({'.'.join(map(str, path))})"
    if not isinstance(node, ScalarNode) and node.tag not in _COLLECTIONS:
        raise InputError(f"the tag {node.tag} is not accepted", where=where, next_step="remove it")
    match node:
        case MappingNode():
            return {
                key: _plain(loader, value, (*path, key), spots, name)
                for key, value in _unique_items(node, path, name)
            }
        case SequenceNode():
            return [
                _plain(loader, value, (*path, index), spots, name)
                for index, value in enumerate(node.value)
            ]
    try:
        return loader.construct_object(node)
    except _SENSELESS as error:
        raise InputError(
            f"{node.value[:60]!r} cannot be read as {node.tag.rpartition(':')[2]}",
            where=where,
            next_step="quote it, without a tag before it",
        ) from error


def _unique_items(node: MappingNode, path: Location, name: str) -> Iterator[tuple[str, Node]]:
    seen: dict[str, int] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        where = _place(name, key_node.start_mark)
        if not isinstance(key_node, ScalarNode) or key_node.tag != _TEXT:
            raw = key_node.value if isinstance(key_node, ScalarNode) else "a list or mapping"
            raise InputError(
                f"a key must be text, found {raw}", where=where, next_step=f'quote it: "{raw}"'
            )
        key = key_node.value
        if not key.isprintable():
            raise InputError(
                f"a key must be printable, found {key[:60]!r}",
                where=where,
                next_step="use letters, digits, - and .",
            )
        if key in seen:
            dotted = ".".join(str(part) for part in (*path, key))
            raise InputError(
                f'the key "{key}" stands twice, first on line {seen[key]}',
                where=f"{where} ({dotted})",
                next_step="remove one of the two",
            )
        seen[key] = line
        yield key, value_node
