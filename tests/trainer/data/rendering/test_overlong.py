"""How many of the earliest turns of a long row are left out is found by trying few of the possible ways."""

from trainer.data.rendering.overlong import _first_that_fits


def test_it_is_the_first_place_that_fits_or_the_last_one():
    for number in range(1, 80):
        for first in range(number + 1):
            assert _first_that_fits(number, lambda place, first=first: place >= first) == min(
                first, number - 1
            )


def test_of_many_places_only_those_near_the_end_are_tried():
    tried = []

    _first_that_fits(5_000, lambda place: tried.append(place) or place >= 4_950)

    assert min(tried) > 4_850
    assert len(tried) < 20
