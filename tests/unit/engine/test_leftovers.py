"""Which bytes go with images, and which image stands on which."""

from __future__ import annotations

from envmatrix.engine.leftovers import Held, exclusive_bytes, stands_on

OS, BASE, ONE, TWO = ("os", 100), ("base", 20), ("one", 7), ("two", 3)


def image(name: str, *steps: tuple[str, int]) -> Held:
    """Return an image with these steps."""
    return Held(name, (f"envmatrix/{name}:1",), (), steps)


IMAGES = (
    image("os", OS),
    image("base", OS, BASE),
    image("one", OS, BASE, ONE),
    image("two", OS, BASE, TWO),
)


def test_what_another_image_shares_does_not_go() -> None:
    """The base is freed with the last image that stands on it, and counts once."""
    assert exclusive_bytes(IMAGES, {"one"}) == 7
    assert exclusive_bytes(IMAGES, {"os", "base", "one"}) == 7
    assert exclusive_bytes(IMAGES[2:], {"one", "two"}) == 130
    assert exclusive_bytes(IMAGES, {"os", "base", "one", "two"}) == 130


def test_equal_steps_on_other_ones_are_no_shared_bytes() -> None:
    """What a step adds depends on all below it."""
    other = image("other", ("other", 50), BASE)
    assert exclusive_bytes((*IMAGES, other), {"other"}) == 70


def test_an_image_stands_on_the_one_that_it_begins_with() -> None:
    """And on no other, nor on itself, nor on one that tells no steps."""
    os, base, one, two = IMAGES
    assert stands_on(one, base)
    assert stands_on(one, os)
    assert not stands_on(base, one)
    assert not stands_on(one, two)
    assert not stands_on(one, one)
    assert not stands_on(one, image("empty"))


def test_an_image_is_marked_by_a_name_or_by_a_label() -> None:
    """An image that lost its name to another checkout has its label still."""
    assert Held("a", ("envmatrix/cell:x",)).is_marked
    assert Held("a", (), ("io.envmatrix.step",)).is_marked
    assert not Held("a", ("mine/envmatrix/cell:x",), ("io.other",)).is_marked
