"""Augmentations of frames and spectrograms, against values by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.clips.augmentation import (
    AudioAugmentation,
    Augmentation,
    AugmentationSettings,
    Color,
    Cutout,
    RandomResizedCrop,
    Temporal,
    draw,
)
from benchmarks.clips.augmented import coloured, cropped, masked, moved

SAME = AugmentationSettings(random_crop=False, color=Color(brightness=0, contrast=0))
"""Changes nothing."""
CLIPS = 200


def drawn(count=CLIPS, number=0, **settings):
    given = replace(SAME, **settings)
    return draw(Augmentation(number=number, seed=3, settings=given), range(count))


def numbered(*, frames=6, size=12):
    """Two clips: the red of a pixel is its frame, green its row, blue its column; the second one adds 100."""
    frame, row, column = np.meshgrid(np.arange(frames), np.arange(size), np.arange(size), indexing="ij")
    clip = np.stack([frame, row, column], axis=-1).astype(np.uint8)
    return np.stack([clip, clip + 100])


def cut(drawn, *, count=CLIPS, frames=4, size=8, stored=None):
    stored = numbered() if stored is None else stored
    return cropped(stored, np.zeros(count, int), frames=frames, size=size, drawn=drawn)


def test_parameters_depend_on_the_clip_alone_and_not_on_the_batch():
    settings = AugmentationSettings(
        random_resized_crop=RandomResizedCrop(), cutout=Cutout(), audio=AudioAugmentation(time_masks=2)
    )
    augmentation = Augmentation(number=2, seed=3, settings=settings)
    whole, some = draw(augmentation, range(9)), draw(augmentation, [7, 2])
    for name, values in vars(whole).items():
        np.testing.assert_array_equal(values[[7, 2]], getattr(some, name))
    other = draw(replace(augmentation, number=3), range(9))
    assert not np.array_equal(whole.top, other.top)


def test_without_changes_a_clip_is_the_centre_crop():
    found = cut(drawn(3), count=3)
    np.testing.assert_array_equal(found, cut(None, count=3))
    assert found[0, 0, 0, 0].tolist() == [1, 2, 2] and found[0, -1, -1, -1].tolist() == [4, 9, 9]
    odd = cropped(numbered(size=11), np.zeros(1, int), frames=6, size=8, drawn=drawn(1))
    assert odd[0, 0, 0, 0].tolist() == [0, 1, 1], (
        "as on a device, also where the middle is between two pixels"
    )


def test_a_random_crop_reaches_every_corner():
    found = cut(drawn(random_crop=True))
    corners = {tuple(clip[0, 0, 0, 1:]) for clip in found}
    assert {row for row, _ in corners} == {column for _, column in corners} == set(range(5))


def test_a_resized_crop_has_the_area_and_shape_of_its_ranges():
    """The ramp of the rows and columns tells how much of the frame was in the crop."""
    crop = RandomResizedCrop(scale=(0.25, 0.5), ratio=(0.5, 2.0))
    stored = numbered(frames=1, size=120)
    found = cut(drawn(random_crop=True, random_resized_crop=crop), frames=1, size=24, stored=stored).astype(
        float
    )
    heights, widths = (
        (found[:, 0, -1, 0, 1] - found[:, 0, 0, 0, 1]) * 24 / 23,
        (found[:, 0, 0, -1, 2] - found[:, 0, 0, 0, 2]) * 24 / 23,
    )
    area, ratio = heights * widths / 120**2, widths / heights
    assert 0.23 < area.min() < 0.3 and 0.45 < area.max() < 0.52
    assert 0.48 < ratio.min() < 0.6 and 1.7 < ratio.max() < 2.1
    assert (heights <= 120).all() and (widths <= 120).all()


def test_half_of_the_clips_are_mirrored():
    found = cut(drawn(horizontal_flip=True))
    mirrored = found[:, 0, 0, 0, 2] == 9
    assert 0.4 < mirrored.mean() < 0.6
    np.testing.assert_array_equal(found[mirrored][0], cut(None, count=1)[0][:, :, ::-1])


def test_frames_move_within_the_margin_and_repeat_the_outermost_one():
    found = cut(drawn(temporal=Temporal(shift=0.5)))
    firsts = {tuple(clip[:, 0, 0, 0]) for clip in found}
    assert firsts == {(0, 0, 1, 2), (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (3, 4, 5, 5)}


def test_a_network_with_more_frames_gets_the_same_shift_in_time():
    given = drawn(temporal=Temporal(shift=0.5))
    few, many = (
        cut(given, frames=frames, stored=numbered(frames=2 * frames))[:, :, 0, 0, 0] for frames in (4, 8)
    )
    assert (np.abs(many.mean(1) - 7.5 - 2 * (few.mean(1) - 3.5)) <= 1).all()
    assert {*few[:, 0]} == {0, 1, 2, 3, 4}


def test_speed_stretches_frames_around_the_middle():
    given = drawn(temporal=Temporal(speed=1.0))
    assert 0.5 <= given.speed.min() < 0.6 and 1.8 < given.speed.max() <= 2.0
    times = cut(given)[:, :, 0, 0, 0].astype(int)
    assert {tuple(one) for one in times} >= {(0, 2, 3, 5), (1, 2, 3, 4)}
    assert (np.abs(times.mean(1) - 2.5) <= 0.25).all() and (np.diff(times) >= 0).all()


def test_colours_change_by_their_factors():
    given = drawn(1)
    given = replace(given, saturation=np.array([0.5]), contrast=np.array([2.0]), brightness=np.array([0.1]))
    clip = torch.tensor([0.6, 0.4, 0.5]).view(1, 3, 1, 1, 1)
    grey = 0.299 * 0.6 + 0.587 * 0.4 + 0.114 * 0.5
    expected = [0.5 + 2 * (grey + 0.5 * (value - grey) - 0.5) + 0.1 for value in (0.6, 0.4, 0.5)]
    found = coloured(clip, given, mean=(0.5, 0.5, 0.5))
    torch.testing.assert_close(found.flatten(), torch.tensor(expected))
    settings = drawn(color=Color(brightness=0.2, contrast=1.0, saturation=3.0))
    for values, least, most in (
        (settings.brightness, -0.2, 0.2),
        (settings.contrast, 0.5, 2.0),
        (settings.saturation, 0.25, 4.0),
    ):
        assert least <= values.min() < least + 0.1 * (most - least)
        assert most - 0.1 * (most - least) < values.max() <= most


def test_cutout_hides_one_square_of_some_clips_in_all_frames():
    given = drawn(cutout=Cutout(probability=0.25, scale=(0.25, 0.25)))
    found = coloured(torch.ones(CLIPS, 3, 2, 8, 8), given, mean=(0.1, 0.2, 0.3))
    hidden = (found != 1).flatten(1).any(1)
    assert 0.15 < hidden.float().mean() < 0.35
    clips = found[hidden]
    assert (clips[:, 0] == 0.1).float().mean() == 0.25, "a quarter of the area"
    assert clips[:, :, 0].equal(clips[:, :, 1])
    torch.testing.assert_close(clips.amin((2, 3, 4))[0], torch.tensor([0.1, 0.2, 0.3]))


def test_masks_hide_times_and_bands_but_not_missing_audio():
    audio = AudioAugmentation(
        gain=0, shift=0, time_masks=1, time_mask_width=0.5, frequency_masks=2, frequency_mask_width=0.25
    )
    given = drawn(audio=audio)
    sound = np.random.default_rng(0).normal(size=(CLIPS, 16, 20)).astype(np.float32)
    sound[0] = -13.8
    found = masked(sound, given, mean=-4.0)
    hidden = found == -4.0
    assert not hidden[0].any(), "missing audio stays recognisable"
    times, bands = hidden.all(1).sum(1), hidden.all(2).sum(1)
    assert times.max() == 10 and 3 < times.mean() < 6
    assert 4 < bands.max() <= 8
    np.testing.assert_array_equal(found[~hidden], sound[~hidden])
    np.testing.assert_array_equal(moved(sound, given), np.maximum(sound, np.float32(np.log(1e-6))))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomResizedCrop(scale=(0.9, 0.2)), r"scale is \[0\.9, 0\.2\]; give \[least, most\]"),
        (lambda: RandomResizedCrop(ratio=(0.0, 1.0)), r"ratio is .* with 0\.1 <= least"),
        (lambda: Cutout(scale=(0.1, 1.0)), r"scale is \[0\.1, 1\.0\].* <= 0\.9"),
        (
            lambda: AugmentationSettings(random_crop=False, random_resized_crop=RandomResizedCrop()),
            "random_resized_crop has a random position, but random_crop is false",
        ),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
