"""Evidence: everything that is recorded of one cell, or of one host. The published contract.

`envmatrix schema evidence` prints its JSON Schema, and docs/evidence.schema.json holds that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

from envmatrix.model.part import LARGEST, Handle, Part, Span, Word
from envmatrix.model.probe_results import NOTHING_OBSERVED, Observed, ProbeResult
from envmatrix.model.verdicts import Judgement, Verdict

SCHEMA: Final = 2
CONTAINER: Final = "container"
HOST: Final = "host"


LayerId = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9:._+-]*$", max_length=200)
]
InstalledPackage = Annotated[
    str,
    StringConstraints(
        pattern=r"^[a-z0-9][a-z0-9+.-]* [A-Za-z0-9.+:~-]+ [a-z0-9-]+ [0-9a-f]{64}$", max_length=400
    ),
]
"""A package of an operating system: name, version, architecture, SHA-256."""


class Reproducible(StrEnum):
    """Whether an image was rebuilt from nothing, and whether it came out the same."""

    PROVEN = "proven"
    DIFFERS = "differs"
    NOT_CHECKED = "not checked"


class Axes(Part):
    """The value of a cell on each axis of the matrix."""

    os: Annotated[Word, Field(description="The operating system, such as debian12.")]
    python: Annotated[Word, Field(description="The Python, such as 3.11.")]
    accelerator: Annotated[Word, Field(description="cpu, or a CUDA line such as cu130.")]
    framework: Annotated[
        str, Field(description="The framework, with its stack where it has one: torch+vision.")
    ]
    version: Annotated[Word, Field(description="The version of the framework.")]
    arch: Annotated[Word, Field(description="The processor architecture, such as amd64.")]


class Declared(Part):
    """What a cell says of itself, under the names by which probes observe it."""

    version: Annotated[str, Field(description="The version of the framework.")]
    python: Annotated[str, Field(description="The Python, such as 3.11.")]
    distribution: Annotated[str, Field(description="The distribution, such as debian.")]
    codename: Annotated[str, Field(description="The release of the distribution.")]
    glibc: Annotated[str, Field(description="The version of the C library.")]
    accelerator: Annotated[str, Field(description="cpu, or a CUDA line such as cu130.")]
    arch: Annotated[str, Field(description="The processor architecture.")]

    def items(self) -> Iterator[tuple[str, str]]:
        """Yield each name with its value."""
        for name in type(self).model_fields:
            yield name, getattr(self, name)


class Overlap(Part):
    """Two distributions of a lock that own files of the same path with other contents."""

    distributions: Annotated[
        tuple[str, str], Field(description="The two distributions, by name, in their order.")
    ]
    files: Annotated[
        int, Field(description="How many files of both have one path; 0 where nobody looked.")
    ] = 0
    example: Annotated[str, Field(description="One of the paths; empty where nobody looked.")] = ""

    @property
    def said(self) -> str:
        """The overlap in a sentence."""
        first, second = self.distributions
        files = f"{self.files} file{'s' if self.files != 1 else ''}"
        count = f"{files}, such as {self.example}" if self.files else "the same files"
        return f"{first} and {second} own {count}: whichever is installed last wins"


class LockedWheels(Part):
    """The wheels that are installed in the image."""

    sha256: Annotated[str, Field(description="The hash of the wheels' names and hashes.")]
    wheels: Annotated[
        Mapping[str, str], Field(description="The version of each distribution, by name.")
    ]
    overlaps: Annotated[
        tuple[Overlap, ...],
        Field(description="Distributions that own the same files: the last one installed wins."),
    ] = ()


class StandalonePython(Part):
    """The CPython of a base whose operating system has another one."""

    version: Annotated[str, Field(description="Its full version, such as 3.12.16.")]
    build: Annotated[str, Field(description="The day on which it was built, such as 20261110.")]
    sha256: Annotated[str, Field(description="The SHA-256 of the archive that was installed.")]


class BaseImage(Part):
    """The image that a cell stands on."""

    id: Annotated[Handle, Field(description="The id of the base, such as debian12-py3.11-cpu.")]
    origin: Annotated[
        str | None,
        Field(
            description="Where its operating system came from: pull or bootstrap; null: unknown."
        ),
    ] = None
    digest: Annotated[
        str | None,
        Field(
            description="The digest (sha256:...) by which the registry knows the operating system "
            "that was pulled; null: bootstrapped, or unknown."
        ),
    ] = None
    python: Annotated[
        StandalonePython | None,
        Field(
            description="The standalone CPython that is installed; null: the operating system's "
            "own Python is the cell's, or nothing was built."
        ),
    ] = None


# People copy it from the evidence of others, so nothing else may stand there.
_RUN_COMMAND = (
    r"^(docker run --rm -it --pull never( --gpus all)? --shm-size \d+g "
    r"envmatrix/cell:[A-Za-z0-9][A-Za-z0-9_.-]*)?$"
)


Role = Literal["os", "base", "packages", "wheels", "settings"]


class LayerSize(Part):
    """A layer of an image: what it is for, and how large it is."""

    role: Annotated[
        Role,
        Field(
            description="os: the operating system; base: Python and the installer; packages: those "
            "of the operating system that the framework or its stack needs; wheels: those of the "
            "lock; settings: constraints and the start."
        ),
    ]
    size: Annotated[int, Field(ge=0, le=LARGEST, description="Bytes, as the engine counts them.")]


class CellImage(Part):
    """The image that was built for a cell, and that its probes ran in."""

    name: Annotated[str, Field(description="The local name of the image.")]
    layers: Annotated[
        tuple[LayerId, ...],
        Field(description="The diff ids of its layers, lowest first. The image id is no contract."),
    ]
    contents: Annotated[
        tuple[str, ...],
        Field(
            description="A digest of what each layer contains, equal on every engine "
            "(docs/decisions/0013-layer-content.md), in the order of the layers; empty: not known. "
            "`envmatrix verify` takes them."
        ),
    ] = ()
    size: Annotated[int, Field(ge=0, le=LARGEST, description="Bytes, as the engine counts them.")]
    run: Annotated[
        str,
        Field(
            pattern=_RUN_COMMAND,
            description="A command that starts it where it was built; empty: not told.",
        ),
    ] = ""
    sizes: Annotated[
        tuple[LayerSize, ...],
        Field(
            description="The layers that hold any bytes, lowest first, with their sizes; empty: "
            "not known."
        ),
    ] = ()
    packages: Annotated[
        tuple[InstalledPackage, ...],
        Field(
            description="The packages that were installed on the base, each as name, version, "
            "architecture and SHA-256 of its .deb; those of the base are not among them."
        ),
    ] = ()

    @model_validator(mode="after")
    def _one_for_each_layer(self) -> Self:
        if self.contents and len(self.contents) != len(self.layers):
            raise ValueError("there must be one digest of its content for each layer, or none")
        return self


class Difference(Part):
    """A path that is not the same in two builds of a layer."""

    path: Annotated[str, Field(description="The path in the image.")]
    what: Annotated[str, Field(description="What is not the same.")]
    cause: Annotated[str, Field(description="The most likely reason.")]


class Reproducibility(Part):
    """What came of building the image again from nothing."""

    status: Annotated[Reproducible, Field(description="Whether it came out the same.")] = (
        Reproducible.NOT_CHECKED
    )
    verified_at: Annotated[date | None, Field(description="The day of the comparison.")] = None
    differences: Annotated[
        tuple[Difference, ...], Field(description="The first paths that are not the same.")
    ] = ()
    notes: Annotated[
        tuple[str, ...], Field(description="What could not be compared, and why.")
    ] = ()


class Inputs(Part):
    """The hash of each thing that the evidence depends on. Evidence is stale where one changed."""

    lock: Annotated[str, Field(description="The lock file of the cell.")]
    dockerfile: Annotated[
        str, Field(description="The instructions of the Dockerfile that make files.")
    ]
    settings: Annotated[
        str,
        Field(description="The instructions that set how the image runs: ENV, USER, CMD, LABEL."),
    ]
    base: Annotated[str, Field(description="All files of the folder of the base.")]
    declared: Annotated[str, Field(description="What the cell says of itself.")]
    probes: Annotated[Mapping[str, str], Field(description="The source of each probe, by name.")]
    runner: Annotated[
        str,
        Field(
            description="The program that ran probes beside each other; empty where each ran alone."
        ),
    ] = ""

    def same_image(self, now: Inputs) -> bool:
        """Return whether what is in the image depends on the same now: probes are not in it."""
        names = ("lock", "dockerfile", "settings", "base")
        return all(getattr(self, name) == getattr(now, name) for name in names)

    def changed(self, now: Inputs) -> list[str]:
        """Return what differs between these inputs and those of now, in words."""
        names = {
            "lock": "lock",
            "dockerfile": "Dockerfile",
            "settings": "image settings",
            "base": "base",
            "declared": "declared axes",
        }
        found = [
            words for name, words in names.items() if getattr(self, name) != getattr(now, name)
        ]
        probes = sorted({*self.probes, *now.probes})
        found += [
            f"probe {name}" for name in probes if self.probes.get(name) != now.probes.get(name)
        ]
        # A result of a probe that ran alone does not depend on the runner.
        return found + ["the runner of probes"] * (self.runner not in ("", now.runner))


class Serves(Part):
    """The drivers and GPUs that a CUDA build serves, known without any GPU."""

    driver: Annotated[
        str | None, Field(description="The lowest NVIDIA driver branch of the CUDA line.")
    ]
    generations: Annotated[
        tuple[str, ...], Field(description="GPU generations that the build holds code for.")
    ]


class Seconds(Part):
    """Seconds that each stage took; null where the stage did not run."""

    base: Annotated[Span | None, Field(description="Building the base.")] = None
    build: Annotated[Span | None, Field(description="Building the image of the cell.")] = None
    probe: Annotated[Span | None, Field(description="The sum of the seconds of all probes.")] = None


class Machine(Part):
    """The machine that gave the evidence. Nothing here names it."""

    system: Annotated[str, Field(description="The operating system, such as Linux.")]
    machine: Annotated[str, Field(description="The processor architecture, such as x86_64.")]
    engine: Annotated[str, Field(description="The version of the Docker engine; empty: none.")] = ""


class Logs(Part):
    """Where the output of each step lies, relative to the matrix; null: there is none."""

    resolve: Annotated[str | None, Field(description="What the resolver said.")] = None
    base: Annotated[str | None, Field(description="The build of the base.")] = None
    build: Annotated[str | None, Field(description="The build of the image.")] = None


class Evidence(Part):
    """Everything that is recorded of one cell, or of the interpreter of one host."""

    version: Annotated[
        Literal[2], Field(alias="schema", description="The version of this form.")
    ] = SCHEMA
    generated_at: Annotated[datetime, Field(description="When it was recorded, in UTC.")]
    tool: Annotated[str, Field(description="The envmatrix that recorded it.")]
    host: Annotated[Machine, Field(description="The machine that it was recorded on.")]
    kind: Annotated[
        Literal["container", "host"],
        Field(description="container: in the built image; host: in an interpreter without one."),
    ] = CONTAINER
    id: Annotated[Handle, Field(description="The id of the cell, its only handle.")]
    axes: Annotated[Axes, Field(description="The value of the cell on each axis.")]
    emulated: Annotated[
        bool,
        Field(
            description="Whether it was built and run on an engine of another architecture, by "
            "emulation. Its seconds then say nothing about a machine of that architecture."
        ),
    ] = False
    verdict: Annotated[Verdict, Field(description="What is known of the cell.")]
    stage: Annotated[str, Field(description="The stage that gave the verdict.")]
    class_: Annotated[
        str, Field(alias="class", description="The class of the cause; empty where it works.")
    ] = ""
    cause: Annotated[str, Field(description="Why the verdict is what it is, in a sentence.")] = ""
    remedy: Annotated[str, Field(description="What a user can do about it.")] = ""
    declared: Annotated[
        Declared | None, Field(description="What the cell says of itself; null for a host.")
    ] = None
    observed: Annotated[
        Observed, Field(description="What the probe that imports the framework observed.")
    ] = NOTHING_OBSERVED
    serves: Annotated[
        Serves | None, Field(description="Drivers and GPUs served; null without CUDA.")
    ] = None
    lock: Annotated[
        LockedWheels | None, Field(description="The wheels; null where there is no lock.")
    ] = None
    base: Annotated[
        BaseImage | None, Field(description="The image below the cell; null for a host.")
    ] = None
    inputs: Annotated[
        Inputs | None, Field(description="Hashes of all inputs; null where there is no lock.")
    ] = None
    image: Annotated[
        CellImage | None, Field(description="The built image; null where none was built.")
    ] = None
    reproducibility: Annotated[
        Reproducibility, Field(description="Whether the image was rebuilt, and came out the same.")
    ] = Reproducibility()
    seconds: Annotated[Seconds, Field(description="Seconds that each stage took.")] = Seconds()
    probes: Annotated[
        tuple[ProbeResult, ...], Field(description="What each probe gave, in their order.")
    ] = ()
    log: Annotated[
        str | None,
        Field(
            description="The log of the stage, relative to the matrix; a folder with PROBE.log "
            "for each probe, where one has failed; null: none."
        ),
    ] = None
    logs: Annotated[
        Logs, Field(description="The log of each step, on the machine that made this evidence.")
    ] = Logs()

    @model_serializer(mode="wrap")
    def _without_absent_logs(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Evidence of before there were such logs stays as it is, to the letter.
        data: dict[str, Any] = handler(self)
        if self.logs == Logs():
            del data["logs"]
        return data

    @property
    def judgement(self) -> Judgement:
        """The verdict with its reason. What works under emulation alone says so."""
        cause = self.cause or ("under emulation" if self.emulated else "")
        return Judgement(self.verdict, self.stage, self.class_, cause, self.remedy)

    @property
    def told(self) -> str:
        """The verdict in words, such as works (emulated)."""
        return f"{self.verdict} (emulated)" if self.emulated else self.verdict.value

    @property
    def layers(self) -> tuple[str, ...]:
        """The diff ids of the image; none where no image was built."""
        return self.image.layers if self.image else ()

    @property
    def contents(self) -> tuple[str, ...]:
        """The digests of what its layers contain; none where they are not known."""
        return self.image.contents if self.image else ()

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that were installed on the base; none where they are not known."""
        return self.image.packages if self.image else ()

    def with_contents(self, contents: Sequence[str]) -> Self:
        """Return this evidence with the digests of what the layers of its image contain."""
        if self.image is None or not contents:
            return self
        image = self.image.model_copy(update={"contents": tuple(contents)})
        return self.model_copy(update={"image": image})

    def as_recorded(self, before: Self) -> Self:
        """Return this evidence with the time, the tool and the machine of `before`.

        Evidence is as old as what was executed for it: results that were only looked up again are
        no newer. Where the image or the results of probes differ, it stays as it is.
        """
        if (self.layers, self.probes) != (before.layers, before.probes):
            return self
        return self.model_copy(
            update={"generated_at": before.generated_at, "tool": before.tool, "host": before.host}
        )

    def with_reproducibility(self, found: Reproducibility) -> Self:
        """Return this evidence with what came of building its image again."""
        return self.model_copy(update={"reproducibility": found})


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of evidence, for other people's programs."""
    return Evidence.json_schema()
