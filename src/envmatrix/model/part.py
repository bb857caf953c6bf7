"""A part of evidence or of a record: frozen, strict about its fields, and with inert text."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from envmatrix.model.text import inert_data

DEEPEST: Final = 32
"""How deep the values of evidence may be nested."""
_NOT_UNICODE = re.compile("[\ud800-\udfff]")

_FLOATS = frozenset({float})
_COLLECTIONS = (dict, list, tuple, Mapping)


def check_keepable(data: object, depth: int = DEEPEST) -> None:
    """Check that a JSON file can keep plain data, so that it is read back as it was.

    Raises:
        ValueError: it cannot, and why.
    """
    # In the order of how often it is met: evidence of a cell holds a thousand values.
    if isinstance(data, str):
        if not data.isascii() and _NOT_UNICODE.search(data):
            raise ValueError("it holds a text that is not Unicode")
    elif isinstance(data, float):
        if not math.isfinite(data):
            raise ValueError("it holds a number that is not finite")
    elif isinstance(data, _COLLECTIONS):
        if not depth:
            raise ValueError("it is nested too deeply")
        if type(data) is list and _FLOATS.issuperset(map(type, data)):
            # The losses of a model are hundreds. A loop over them takes long.
            if not all(map(math.isfinite, data)):
                raise ValueError("it holds a number that is not finite")
            return
        for value in data if isinstance(data, list | tuple) else (*data, *data.values()):
            check_keepable(value, depth - 1)


_WORD = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"
Word = Annotated[str, StringConstraints(pattern=_WORD, max_length=80)]
"""A value of an axis. It becomes a part of names of files, so it holds no part of a path."""
Handle = Annotated[str, StringConstraints(pattern=_WORD, max_length=220)]
"""An id of a cell, a host or a base. Names of files are made of it."""
LARGEST: Final = 2**53
"""The largest number of bytes: programs of every language read it exactly."""
LONGEST: Final = 10.0**9
"""The largest number of seconds."""
Span = Annotated[float, Field(ge=0, le=LONGEST)]


class Part(BaseModel):
    """A frozen part of evidence or of a record. A field that it does not know is refused.

    All text in it is inert, whether it was made here or comes from a file that others wrote.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_by_name=True,
        validate_by_alias=True,
        # A command uses few of the forms, and to build a validator takes longer than to read one.
        defer_build=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _inert(cls, data: object) -> object:
        return inert_data(data, DEEPEST)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON names them."""
        return self.model_dump(mode="json", by_alias=True)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema of this form, for other people's programs."""
        schema = cls.model_json_schema(by_alias=True)
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
