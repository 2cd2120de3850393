from itertools import pairwise

import numpy as np
import pytest

from benchmarks.long_video.change import Change, histogram
from benchmarks.long_video.windows import Dynamic, Sliding, dynamic, sliding

RED, BLUE = (np.full((8, 8, 3), colour, np.uint8) for colour in ((200, 30, 30), (30, 30, 200)))


def spans(windows):
    return [(round(window.start_s, 3), round(window.end_s, 3)) for window in windows]


def follow(pictures, *, end_s, **rule):
    """Dynamic windows of ten pictures a second."""
    timed = ((number / 10, picture) for number, picture in enumerate(pictures))
    return spans(dynamic(Dynamic(**rule), timed, start_s=0.0, end_s=end_s))


def test_sliding_windows_cover_the_video_to_its_end():
    assert spans(sliding(Sliding(segment_s=2, stride_s=1), start_s=0.5, end_s=4.5)) == [
        (0.5, 2.5),
        (1.5, 3.5),
        (2.5, 4.5),
    ]
    assert spans(sliding(Sliding(segment_s=2, stride_s=2), start_s=0, end_s=5)) == [(0, 2), (2, 4), (3, 5)]


def test_a_video_shorter_than_a_window_is_one_window():
    assert spans(sliding(Sliding(segment_s=2, stride_s=1), start_s=0, end_s=0.4)) == [(0, 0.4)]
    assert follow([RED] * 4, end_s=0.4) == [(0, 0.4)]


def test_dynamic_windows_end_where_the_picture_changes():
    assert follow([RED] * 23 + [BLUE] * 15, end_s=3.8) == [(0, 2.3), (2.3, 3.8)]


def test_a_change_that_comes_too_early_ends_the_window_when_it_may_end():
    assert follow([RED] * 3 + [BLUE] * 27, end_s=3.0, min_s=1.0) == [(0, 1.0), (1.0, 3.0)]


def test_dynamic_windows_end_at_their_greatest_length():
    assert follow([RED] * 50, end_s=5.0, min_s=1.0, max_s=2.0) == [(0, 2), (2, 4), (4, 5)]


def test_the_rest_of_a_video_becomes_a_window_of_the_least_length():
    assert follow([RED] * 20 + [BLUE] * 4, end_s=2.4, min_s=1.0) == [(0, 2), (1.4, 2.4)]


def test_a_slow_fade_is_a_change_although_no_two_frames_differ_much():
    shares = np.linspace(0, 1, 40)[:, None, None, None]
    fade = (RED * (1 - shares) + BLUE * shares).astype(np.uint8)
    steps = [np.abs(histogram(a) - histogram(b)).sum() / 6 for a, b in pairwise(fade)]
    assert max(steps) < 0.25
    assert len(follow([RED] * 20 + list(fade) + [BLUE] * 20, end_s=8.0)) >= 3


def test_what_moves_within_the_picture_is_no_change():
    pictures = []
    for number in range(30):
        picture = np.full((32, 32, 3), 90, np.uint8)
        picture[number % 24 : number % 24 + 8, 4:12] = 220
        pictures.append(picture)
    assert follow(pictures, end_s=3.0) == [(0, 3.0)]


def test_change_does_not_jump_where_a_histogram_has_its_borders():
    change = Change()
    change.add(np.full((8, 8, 3), 63, np.uint8))
    assert change.of(np.full((8, 8, 3), 63, np.uint8)) == 0
    assert change.of(np.full((8, 8, 3), 65, np.uint8)) < 0.07
    assert change.of(np.full((8, 8, 3), 255, np.uint8)) == 1


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            lambda: Sliding(segment_s=0, stride_s=1),
            "windows of 0 s that start every 1 s: both must be more than 0",
        ),
        (
            lambda: Sliding(segment_s=1, stride_s=2),
            "leave parts of the video out; give a stride of at most the length",
        ),
        (lambda: Dynamic(min_s=3, max_s=2), "at least 3 s and at most 2 s: the minimum must be more"),
        (lambda: Dynamic(change=1.5), "a change of 1.5 is not between 0 and 1"),
    ],
)
def test_lengths_that_make_no_windows_are_refused(rule, message):
    with pytest.raises(ValueError, match=message):
        rule()
