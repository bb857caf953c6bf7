"""Digests: the keys of records and of evidence."""

import pytest

from envmatrix.model.digests import content_scheme, digest, is_digest, moved, short

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")


def test_a_digest_stays_the_same_between_runs_and_versions() -> None:
    """The digest of these values is the one of all earlier versions, so old records are found."""
    assert (
        digest("lock", ("a", "é"), None, {"b": 1, "a": [True]})
        == "aee189c2befc5077493fcb85ecabbb99ccb8dde25300b9e179e37264f963ce67"
    )


def test_a_digest_tells_apart_what_looks_alike() -> None:
    """The order of keys does not change a digest. The bounds between values do."""
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    parts: list[tuple[object, ...]] = [("ab",), ("a", "b"), (("a", "b"),), ("a", None), ("a", "")]
    assert len(parts) == len({digest(*part) for part in parts})


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (A, [B], "debian:12 has moved: sha256:aaaaaaaaaaaa -> sha256:bbbbbbbbbbbb"),
        (A, [C, B], "debian:12 has moved: sha256:aaaaaaaaaaaa -> sha256:bbbbbbbbbbbb"),
        (A, [B, A], ""),
        (A, [], ""),
        ("", [B], ""),
        (f"image {A}", [B], ""),
    ],
)
def test_a_tag_has_moved_where_both_digests_are_known(
    before: str, now: list[str], expected: str
) -> None:
    """Nothing is said of what is not known, and one digest of several is enough."""
    assert moved("debian:12", before, now) == expected


def test_the_parts_of_a_digest() -> None:
    """A digest tells its form, and its beginning is enough to tell two apart."""
    assert content_scheme("envmatrix-content-1:abc") == "envmatrix-content-1"
    assert is_digest(A)
    assert not is_digest("sha256:abc")
    assert (short(A), short("")) == ("sha256:aaaaaaaaaaaa", "")
