"""mixup and CutMix of a batch, against values by hand."""

import numpy as np
import pytest
import torch

from benchmarks.clips.augmentation import AugmentationSettings
from benchmarks.clips.mixing import Mix, drawn_mix, mixed
from tests.specs import small_spec

SPEC = small_spec("clip", "audio")


def drawn(step=0, **settings):
    return drawn_mix(AugmentationSettings(**settings), SPEC, clips=8, seed=1, epoch=2, step=step)


def test_mixup_is_the_weighted_mean_of_two_clips_and_of_their_audio():
    clip, audio = torch.randn(2, 3, 4, 16, 16), torch.randn(2, 1, 4, 4)
    found = mixed((clip, audio), Mix(partners=(1, 0), share=0.75), SPEC)
    torch.testing.assert_close(found[0], 0.75 * clip + 0.25 * clip.flip(0))
    torch.testing.assert_close(found[1], 0.75 * audio + 0.25 * audio.flip(0))


def test_cutmix_replaces_a_rectangle_in_all_frames():
    clip = torch.stack([torch.zeros(3, 4, 16, 16), torch.ones(3, 4, 16, 16)])
    mix = Mix(partners=(1, 1), share=1 - 8 * 4 / 16**2, box=(0.25, 0.5, 0.75, 0.75))
    (found,) = mixed((clip,), mix, SPEC.only(("clip",)))
    assert found[0, 0, 0].sum() == 8 * 4 and found[0, 1, 3, 4:12, 8:12].min() == 1
    assert found[0].mean().item() == pytest.approx(1 - mix.share)
    assert found[1].equal(clip[1]), "mixed with itself"


def test_a_batch_has_its_own_mix_every_time():
    assert drawn(mixup=0.2) == drawn(mixup=0.2) != drawn(mixup=0.2, step=1)
    assert drawn() is None
    assert sorted(drawn(mixup=0.2).partners) == list(range(8))


def test_shares_follow_the_beta_distribution_and_rectangles_their_share():
    """Beta(0.2, 0.2) is mostly near 0 and 1, Beta(100, 100) near 1/2; boxes at the edge are cut."""
    extreme = [drawn(step, mixup=0.2).share for step in range(200)]
    even = [drawn(step, mixup=100.0).share for step in range(200)]
    assert np.mean([min(share, 1 - share) < 0.1 for share in extreme]) > 0.5
    assert min(even) > 0.35 and max(even) < 0.65
    size = SPEC.video.size
    for step in range(50):
        mix = drawn(step, cutmix=1.0)
        top, left, bottom, right = (round(edge * size) for edge in mix.box)
        assert 0 <= top <= bottom <= size and 0 <= left <= right <= size
        assert mix.share == pytest.approx(1 - (bottom - top) * (right - left) / size**2)


def test_with_both_every_batch_has_one_of_them():
    cut = [drawn(step, mixup=0.2, cutmix=1.0).box is not None for step in range(100)]
    assert 30 < sum(cut) < 70


def test_captions_are_not_mixed():
    spec = small_spec("clip", "text")
    with pytest.raises(ValueError, match="captions cannot be mixed with each other"):
        mixed((torch.zeros(1, 3, 4, 16, 16), torch.zeros(1, 4)), Mix(partners=(0,), share=0.5), spec)
