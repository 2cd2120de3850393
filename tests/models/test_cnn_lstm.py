import pytest
import torch
from torch import nn

from models.cnn_lstm import CnnLstmOptions, cnn_lstm, cnn_lstm_tiny
from models.counts import count_macs, count_parameters
from tests.specs import clip_spec


def shapes(*, frames=1, size=224, **options):
    """The network without memory, and its spec, at 1000 classes."""
    spec = clip_spec(frames=frames, size=size, classes=1000)
    with torch.device("meta"):
        return cnn_lstm(spec, CnnLstmOptions(**options)), spec


def test_its_cnn_is_the_published_mobilenet_v2():
    """3.47 M parameters, 1,281,000 of them in its classifier, 300 M MACs at 224 x 224 (TensorFlow's model zoo)."""
    model, spec = shapes()
    assert count_parameters(model.frame) + 1281 * 1000 == pytest.approx(3.47e6, rel=0.02)
    assert count_macs(model, spec) == pytest.approx(300e6, rel=0.02)


@pytest.mark.parametrize("recurrent, gates", [("lstm", 4), ("gru", 3)])
def test_the_recurrent_layer_is_the_chosen_one(recurrent, gates):
    model, _ = shapes(recurrent=recurrent)
    assert isinstance(model.recurrent, nn.LSTM if recurrent == "lstm" else nn.GRU)
    assert count_parameters(model.recurrent) == gates * 256 * (1280 + 256 + 2)


def test_macs_grow_with_frames():
    (one, spec), (eight, longer) = shapes(), shapes(frames=8)
    assert count_macs(eight, longer) == pytest.approx(8 * count_macs(one, spec), rel=0.01)


def test_the_order_of_frames_matters():
    spec = clip_spec(frames=4, size=32, classes=3)
    model = cnn_lstm_tiny(spec, CnnLstmOptions()).eval()
    (clip,) = spec.example()
    assert not model(clip).allclose(model(clip.flip(2)), rtol=1e-4, atol=1e-7)


def test_each_frame_is_seen_alone():
    spec = clip_spec(frames=4, size=32, classes=3)
    model = cnn_lstm_tiny(spec, CnnLstmOptions()).eval()
    (clips,) = spec.example(batch=2)
    features = model.frame(model.normalise(clips[1:, :, 2:3])[:, :, 0]).mean((2, 3))
    given = []
    model.recurrent.register_forward_hook(lambda module, inputs, output: given.append(inputs[0]))
    model(clips)
    torch.testing.assert_close(given[0][1, 2], features[0])


def test_small_frames_are_refused_with_the_least_size():
    with pytest.raises(ValueError, match="31 x 31 are too small for CNN-LSTM: use a size of at least 32"):
        shapes(size=31)
