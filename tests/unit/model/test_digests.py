"""Digests: the keys of records and of evidence."""

from envmatrix.model.digests import digest


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
