"""Results of probes: how each ended, and what it observed. They are a part of evidence."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from envmatrix.model.part import DEEPEST, Part, Span, check_keepable
from envmatrix.model.text import inert_data

FACTS_LIMIT: Final = 250_000
"""The characters, as JSON, of everything that one probe observed."""
FACT_LIMIT: Final = 10_000
"""The characters of a text that a probe observed. A longer one loses its end."""


class Outcome(StrEnum):
    """How a probe ended."""

    PASSED = "passed"
    FAILED = "failed"
    CRASHED = "crashed"
    OUT_OF_MEMORY = "out of memory"
    TIMED_OUT = "timed out"
    COULD_NOT_START = "could not start"
    BAD_REPORT = "bad report"
    FLOODED = "output flood"
    NOT_RUN = "not run"


def _text_or_none(value: object) -> object:
    return value if value is None else str(value)


_Text = Annotated[str | None, BeforeValidator(_text_or_none)]


class Observed(Part):
    """What a probe observed. A probe may add facts of its own, under names of its own."""

    model_config = ConfigDict(extra="allow", frozen=True)

    version: Annotated[_Text, Field(description="The version that the framework tells.")] = None
    python: Annotated[_Text, Field(description="The Python that ran the probe.")] = None
    distribution: Annotated[_Text, Field(description="ID of /etc/os-release.")] = None
    codename: Annotated[_Text, Field(description="VERSION_CODENAME of /etc/os-release.")] = None
    glibc: Annotated[_Text, Field(description="The C library that the Python runs on.")] = None
    accelerator: Annotated[
        _Text, Field(description="What the framework was built for: cpu, or a CUDA line.")
    ] = None
    arch: Annotated[_Text, Field(description="The processor architecture.")] = None
    architectures: Annotated[
        tuple[str, ...],
        Field(description="The GPU architectures that the build holds code for: sm_90, ..."),
    ] = ()
    losses: Annotated[
        tuple[float, ...], Field(description="The loss of a model after each step of training.")
    ] = ()

    @model_validator(mode="before")
    @classmethod
    def _only_what_a_file_keeps(cls, data: object) -> object:
        check_keepable(data)
        kept = inert_data(data, DEEPEST, FACT_LIMIT)
        if len(json.dumps(kept, default=str)) > FACTS_LIMIT:
            raise ValueError("it holds more than evidence keeps")
        return kept

    @model_serializer(mode="wrap")
    def _only_what_was_said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        said: dict[str, Any] = handler(self)
        return {name: value for name, value in said.items() if name in self.model_fields_set}

    def items(self) -> Iterator[tuple[str, Any]]:
        """Yield each fact that the probe reported, in its order."""
        yield from self.to_json().items()


NOTHING_OBSERVED = Observed()


class Way(StrEnum):
    """How a probe was run."""

    ALONE = "alone"
    SHARED = "shared"


class SharedRun(Part):
    """How a probe ended beside the others of its cell, where that was no pass."""

    outcome: Annotated[Outcome, Field(description="How the probe ended.")]
    kind: Annotated[str, Field(alias="class", description="The class of the failure.")] = ""
    cause: Annotated[str, Field(description="Why it ended so, in a sentence.")] = ""


class ProbeResult(Part):
    """What one probe gave."""

    probe: Annotated[str, Field(description="The name of the probe.")]
    required: Annotated[bool, Field(description="Whether the cell is broken if this fails.")]
    needs: Annotated[
        Literal["", "gpu"], Field(description="What it needs beside the image: gpu, or nothing.")
    ] = ""
    outcome: Annotated[Outcome, Field(description="How the probe ended.")]
    kind: Annotated[
        str, Field(alias="class", description="The class of the failure; empty where it passed.")
    ] = ""
    cause: Annotated[str, Field(description="Why it ended so, in a sentence.")] = ""
    remedy: Annotated[str, Field(description="What a user can do about it.")] = ""
    seconds: Annotated[Span, Field(description="Seconds from start to end.")] = 0.0
    exit_code: Annotated[
        int | None, Field(description="The exit code; null where envmatrix ended the probe.")
    ] = None
    observed: Annotated[
        Observed, Field(description="What the probe observed; empty unless it passed.")
    ] = NOTHING_OBSERVED
    log_tail: Annotated[
        str, Field(description="The last lines it printed; empty where it passed.")
    ] = ""
    log: Annotated[
        str | None,
        Field(
            description="The file with everything that it printed, relative to the matrix, on the "
            "machine that ran it; null: there is none."
        ),
    ] = None
    ran: Annotated[
        Way,
        Field(
            description="alone: in a container of its own, or on a host; shared: in one container "
            "with the other probes of the cell, forked from one import of the framework."
        ),
    ] = Way.ALONE
    shared: Annotated[
        SharedRun | None,
        Field(
            description="How it ended in the shared container before it was run again alone; null: "
            "it was not run there, or it passed there. The result of the run alone counts."
        ),
    ] = None

    @model_serializer(mode="wrap")
    def _without_an_absent_log(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Evidence of before there were such logs stays as it is, to the letter.
        data: dict[str, Any] = handler(self)
        if self.log is None:
            del data["log"]
        return data

    @property
    def flaky(self) -> bool:
        """Whether it ended in one way beside the other probes, and in another way alone."""
        return self.shared is not None and self.shared.outcome is not self.outcome

    @property
    def passed(self) -> bool:
        """Whether it was run and passed."""
        return self.outcome is Outcome.PASSED

    @property
    def failed(self) -> bool:
        """Whether it was run and did not pass."""
        return self.outcome not in (Outcome.PASSED, Outcome.NOT_RUN)

    @property
    def ended(self) -> str:
        """How it ended, and why where it did not pass."""
        return ": ".join(filter(None, (self.outcome, self.cause)))

    @property
    def is_import(self) -> bool:
        """Whether the probe imports the framework and observes the axes."""
        return self.probe.endswith("-import")


def import_observations(results: Sequence[ProbeResult]) -> Observed:
    """Return what the probe that imports the framework observed."""
    observations = (result.observed for result in results if result.is_import)
    return next((found for found in observations if found.model_fields_set), NOTHING_OBSERVED)
