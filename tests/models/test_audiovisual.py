from dataclasses import replace

import pytest
import torch

from models.audiovisual import audiovisual, audiovisual_tiny
from models.counts import count_parameters
from models.mobilenet3d import MobileNet3dOptions
from tests.specs import small_spec


@pytest.mark.parametrize("inputs", [("clip",), ("audio",), ("clip", "audio")])
def test_it_takes_what_there_is(inputs):
    spec = small_spec(*inputs)
    model = audiovisual_tiny(spec, MobileNet3dOptions()).eval()
    assert model(*spec.example(batch=2)).shape == (2, 3)


def test_both_senses_count():
    spec = small_spec("clip", "audio")
    model = audiovisual_tiny(spec, MobileNet3dOptions()).eval()
    clip, audio = spec.example()
    with torch.no_grad():
        answer = model(clip, audio)
        assert not answer.equal(model(clip + 0.5, audio))
        assert not answer.equal(model(clip, audio + 1))


def test_it_is_small_and_scales():
    spec = small_spec("clip", "audio")
    with torch.device("meta"):
        sizes = [
            count_parameters(audiovisual(spec, MobileNet3dOptions(width=width, depth=depth)))
            for width, depth in ((1.0, 1.0), (0.5, 1.0), (1.0, 0.5))
        ]
    assert sizes[0] < 200_000 and max(sizes[1:]) < sizes[0]


def test_captions_and_small_pictures_are_refused():
    with pytest.raises(ValueError, match="takes clip and audio; given: clip, text"):
        audiovisual(small_spec("clip", "text"), MobileNet3dOptions())
    spec = small_spec("audio")
    spec = replace(spec, audio=replace(spec.audio, bins=4))
    with pytest.raises(
        ValueError, match="a log-mel of 16 x 4 is too small for the audio-visual student: use at least 8"
    ):
        audiovisual(spec, MobileNet3dOptions())
