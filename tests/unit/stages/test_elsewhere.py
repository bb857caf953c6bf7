"""Comparing the image of evidence with the one that is here: without any engine."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from samples import the_evidence

from envmatrix.engine.layerdiff import EMPTY
from envmatrix.model.digests import CONTENT_SCHEME
from envmatrix.model.evidence import (
    CellImage,
    Difference,
    Evidence,
    Machine,
    Reproducibility,
    Reproducible,
)
from envmatrix.stages.elsewhere import (
    OTHER_LAYERS,
    STEP_LIMIT,
    Here,
    compare,
    instruction,
    together,
)

STEPS = ("", "RUN base", "RUN cell")
CELL = the_evidence().id
RUN_IT = f"to judge what is here: `envmatrix run {CELL}`, then `envmatrix verify {CELL}`"


def contents(letters: str) -> tuple[str, ...]:
    """Return one digest of content for each letter."""
    return tuple(f"{CONTENT_SCHEME}:{letter * 64}" for letter in letters)


def diff_ids(letters: str) -> tuple[str, ...]:
    """Return one diff id for each letter; that of an empty layer for a dot."""
    return tuple(EMPTY if letter == "." else f"sha256:{letter * 64}" for letter in letters)


def there(layers: str, held: Sequence[str] = (), engine: str = "20.10.24") -> Evidence:
    """Return evidence of an image with these layers."""
    image = CellImage(name="x", layers=diff_ids(layers), contents=tuple(held), size=1)
    host = Machine(system="Linux", machine="x86_64", engine=engine)
    return the_evidence(image=image, host=host)


def here(layers: str, held: Sequence[str], system: int = 1) -> Here:
    """Return an image that is here."""
    steps = [*STEPS, *[""] * len(layers)][: len(layers)]
    return Here(diff_ids(layers), tuple(held), tuple(steps), system, "28.5.2")


def no_excuse() -> str:
    """Say that both systems should be the same."""
    return ""


def test_other_diff_ids_and_the_same_content_are_proven() -> None:
    """The note says that the content is the same, and names both engines."""
    found = compare(there("abc", contents("123")), here("axy", contents("123")), no_excuse)
    assert (found.status, found.differences) == (Reproducible.PROVEN, ())
    assert found.verified_at is not None
    (note,) = found.notes
    assert note == (
        "same content, written by another engine (20.10.24 / 28.5.2): 2 of 3 layers have other "
        "diff ids"
    )


def test_equal_diff_ids_need_no_digest() -> None:
    """Layers with the same diff ids are the same bytes, whatever is known of their content."""
    found = compare(there("ab."), here("a.b", ()), no_excuse)
    assert (found.status, found.notes) == (Reproducible.PROVEN, ())


def test_one_engine_may_write_a_layer_in_two_ways() -> None:
    """The same content by the same engine is the same; the note does not blame another engine."""
    evidence = there("abc", contents("123"), engine="28.5.2")
    found = compare(evidence, here("abx", contents("123")), no_excuse)
    assert found.status is Reproducible.PROVEN
    assert "written in another way by the same engine (28.5.2 / 28.5.2)" in found.notes[0]


def test_an_engine_that_is_not_known_is_told_as_such() -> None:
    """Evidence may not say which engine made the image."""
    found = compare(there("ab", contents("12"), ""), here("ax", contents("12")), no_excuse)
    assert "(unknown / 28.5.2)" in found.notes[0]


def test_an_empty_layer_makes_no_difference() -> None:
    """One builder makes an empty layer where another makes none; numbers count all layers."""
    found = compare(there("a.bc", contents("1.23")), here("abx", contents("124")), no_excuse)
    (difference,) = found.differences
    assert difference.path == "(layer 3 (RUN cell) of 3)"


def test_another_content_differs_with_number_and_instruction() -> None:
    """The first layer that is not the same is the one to look at. Others may follow from it."""
    found = compare(there("abc", contents("123")), here("axy", contents("189")), no_excuse)
    assert (found.status, found.notes) == (Reproducible.DIFFERS, (OTHER_LAYERS,))
    assert found.verified_at is not None
    one, two = "1" * 12, "2" * 12
    first, second = found.differences
    assert first.path == "(layer 2 (RUN base) of 3)"
    assert first.what == f"content {CONTENT_SCHEME}:{two} / {CONTENT_SCHEME}:{'8' * 12}"
    assert "depends on the time, on chance or on the network" in first.cause
    assert second.path == "(layer 3 (RUN cell) of 3)"
    assert second.cause == "a layer below it is not the same"
    assert one not in first.what


def test_a_system_without_an_excuse_differs() -> None:
    """The operating system itself differs where both should be the same."""
    found = compare(there("ab", contents("12")), here("xb", contents("92")), no_excuse)
    assert found.status is Reproducible.DIFFERS
    assert [one.path for one in found.differences] == ["(layer 1 of 2)"]


def test_another_number_of_layers_differs() -> None:
    """A layer more or less is a difference, however many of the others are the same."""
    found = compare(there("abcd", contents("1234")), here("abc", contents("123")), no_excuse)
    assert found.status is Reproducible.DIFFERS
    (difference,) = found.differences
    assert (difference.path, difference.what) == ("(layers)", "4 / 3 layers")


# --- what is not known -----------------------------------------------------------------------


def test_without_digests_other_engines_are_not_compared() -> None:
    """Another diff id by another engine is no difference, and no proof."""
    found = compare(there("abc"), here("axy", contents("123")), no_excuse)
    assert (found.status, found.verified_at) == (Reproducible.NOT_CHECKED, None)
    (note,) = found.notes
    assert "(20.10.24 / 28.5.2), and the evidence has no digests of what its layers" in note
    assert note.endswith(RUN_IT)


def test_without_digests_the_same_engine_is_compared_by_diff_ids() -> None:
    """An engine writes the same files as the same layer."""
    found = compare(there("abc", (), "28.5.2"), here("abx", contents("123")), no_excuse)
    assert found.status is Reproducible.DIFFERS
    (difference,) = found.differences
    assert difference.what == f"diff id sha256:{'c' * 12} / sha256:{'x' * 12}"


def test_two_engines_that_are_not_known_are_not_the_same() -> None:
    """Evidence without an engine, on an engine that tells no version, is not compared."""
    image = Here(diff_ids("ax"), (), ("", ""), 1, "")
    found = compare(there("ab", (), ""), image, no_excuse)
    assert found.status is Reproducible.NOT_CHECKED


@pytest.mark.parametrize("engine", ["20.10.24", "28.5.2"])
def test_digests_of_another_form_never_differ(engine: str) -> None:
    """Digests of another form compare with none of today's, on whatever engine."""
    others = tuple(f"envmatrix-content-0:{letter * 64}" for letter in "123")
    found = compare(there("abc", others, engine), here("axy", contents("123")), no_excuse)
    assert found.status is Reproducible.NOT_CHECKED
    assert "digests of another form (envmatrix-content-0)" in found.notes[0]
    assert f"this envmatrix compares {CONTENT_SCHEME}" in found.notes[0]


def test_layers_that_could_not_be_read_here_are_not_compared() -> None:
    """Without digests of what is here nothing can be said of other diff ids."""
    found = compare(there("abc", contents("123")), here("axy", ()), no_excuse)
    assert found.status is Reproducible.NOT_CHECKED
    assert "the layers that are here could not be read" in found.notes[0]


def test_a_difference_counts_more_than_what_is_not_known() -> None:
    """One layer with another content is enough to differ."""
    held = (*contents("12"), "envmatrix-content-0:3")
    found = compare(there("abc", held), here("axy", contents("193")), no_excuse)
    assert found.status is Reproducible.DIFFERS


# --- another operating system ----------------------------------------------------------------


def test_above_another_system_each_layer_is_judged_by_itself() -> None:
    """The status is not checked; the note says why, and which layers above are the same."""
    found = compare(there("abc", contents("123")), here("xyz", contents("924")), lambda: "it moved")
    assert (found.status, found.differences) == (Reproducible.NOT_CHECKED, ())
    assert found.notes == (
        "layer 1 is not comparable: it moved; above, 1 of 2 layers is the same (same content, "
        "written by another engine (20.10.24 / 28.5.2)); not the same: layer 3 (RUN cell); "
        + RUN_IT,
    )


def test_a_system_of_more_layers_is_matched_from_the_top() -> None:
    """The same steps stand on systems of one layer and of two."""
    found = compare(there("abc", contents("123")), here("xybc", contents("8823"), 2), lambda: "why")
    assert found.notes == (
        f"layers 1 to 2 are not comparable: why; above, 2 of 2 layers are the same; {RUN_IT}",
    )


def test_layers_that_do_not_match_are_not_judged() -> None:
    """Evidence with fewer layers than stand here above the system has no counterparts."""
    found = compare(there("bc", contents("23")), here("xbc", contents("923")), lambda: "why")
    assert found.status is Reproducible.NOT_CHECKED
    assert "its 2 layers do not match the 3 here" in found.notes[0]


def test_what_is_not_known_above_another_system_is_told() -> None:
    """Evidence without digests says nothing about the layers of another engine."""
    found = compare(there("abc"), here("xbz", contents("924")), lambda: "why")
    assert (
        "above, 1 of 2 layers is the same; not known: 1 of them, because the diff ids "
        in (found.notes[0])
    )


def test_the_same_system_needs_no_excuse() -> None:
    """A system of the same content is the same, wherever it came from."""
    found = compare(
        there("ab", contents("12")), here("xb", contents("12")), lambda: pytest.fail("was asked")
    )
    assert found.status is Reproducible.PROVEN


# --- both results ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rebuilt", "compared", "expected"),
    [
        (Reproducible.PROVEN, Reproducible.PROVEN, Reproducible.PROVEN),
        (Reproducible.PROVEN, Reproducible.NOT_CHECKED, Reproducible.NOT_CHECKED),
        (Reproducible.NOT_CHECKED, Reproducible.PROVEN, Reproducible.NOT_CHECKED),
        (Reproducible.NOT_CHECKED, Reproducible.DIFFERS, Reproducible.DIFFERS),
        (Reproducible.DIFFERS, Reproducible.PROVEN, Reproducible.DIFFERS),
    ],
)
def test_the_worse_of_two_results_counts(
    rebuilt: Reproducible, compared: Reproducible, expected: Reproducible
) -> None:
    """What differs, and every note, comes from both."""
    paths = [Difference(path=path, what="", cause="") for path in ("/a", "/b")]
    found = together(
        Reproducibility(status=rebuilt, differences=(paths[0],), notes=("first",)),
        Reproducibility(status=compared, differences=(paths[1],), notes=("second",)),
    )
    assert found.status is expected
    assert found.differences == tuple(paths)
    assert found.notes == ("first", "second")
    assert (found.verified_at is None) == (expected is Reproducible.NOT_CHECKED)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("", ""),
        ("ADD etc.tar / # buildkit", "ADD etc.tar /"),
        ("RUN |2 A=1 URL=http://user:secret@host/ /bin/sh -c echo a # buildkit", "RUN echo a"),
        ("|2 A=1 URL=http://user:secret@host/ /bin/sh -c echo a", "RUN echo a"),
        ("RUN |1 URL=http://user:secret@host/ /usr/bin/other # buildkit", "RUN"),
        ("|1 URL=http://user:secret@host/ /usr/bin/other", "RUN"),
        ("/bin/sh -c #(nop) COPY file:abc in / ", "COPY file:abc in /"),
        ("RUN /bin/sh -c echo a     && echo b # buildkit", "RUN echo a && echo b"),
        (
            'RUN |1 X=1 /bin/sh -c touch --date="1 minute ago" /dev/shm/envmatrix     && uv pip',
            "RUN uv pip",
        ),
        ("WORKDIR /home/user", "WORKDIR /home/user"),
    ],
)
def test_an_instruction_is_told_without_its_arguments(step: str, expected: str) -> None:
    """Build arguments may hold credentials, and both builders write them into the history."""
    assert instruction(step) == expected


def test_a_long_instruction_is_cut() -> None:
    """A line of a note holds no whole script."""
    found = instruction(f"RUN /bin/sh -c echo {'x' * 500}")
    assert len(found) == STEP_LIMIT
    assert found.endswith("...")
