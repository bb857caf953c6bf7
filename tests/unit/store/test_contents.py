"""What layers contain, as it is recorded."""

import pytest

from envmatrix.model.digests import CONTENT_SCHEME
from envmatrix.store.contents import ContentRecord, Contents
from envmatrix.store.records import Records

A, B = f"{CONTENT_SCHEME}:{'a' * 64}", f"{CONTENT_SCHEME}:{'b' * 64}"


@pytest.fixture
def contents(records: Records) -> Contents:
    """The contents of two layers."""
    found = Contents(records)
    found.keep("sha256:1", A, "RUN one")
    found.keep("sha256:2", B, "")
    return found


def test_each_layer_has_a_digest_and_an_instruction(contents: Contents) -> None:
    """Both are found by the diff id of the layer, whatever image has it."""
    assert contents.get("sha256:1") == ContentRecord(content=A, step="RUN one")
    assert contents.of(["sha256:2", "sha256:1", "sha256:2"]) == (B, A, B)


def test_an_image_has_all_digests_or_none(contents: Contents) -> None:
    """Where one layer is not known, the digests of the others would not stand in their places."""
    assert contents.of(["sha256:1", "sha256:3"]) == ()
    assert contents.of([]) == ()


def test_a_digest_of_another_form_is_not_known(contents: Contents) -> None:
    """A digest that an older envmatrix recorded compares with none of today's."""
    contents.keep("sha256:1", f"{CONTENT_SCHEME}0:aa", "RUN one")
    assert contents.get("sha256:1") is None
    assert contents.of(["sha256:1", "sha256:2"]) == ()
