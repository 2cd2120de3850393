import numpy as np
import pytest

from export.capture.inputs import parse_inputs
from export.samples import check_samples, random_samples, read_samples

CLIP = parse_inputs(["1x3x4x8x8"])
BOTH = parse_inputs(["1x3x4x8x8", "text=1x6:int64<10"])


def clips(count=3, *, dtype="float32", shape=(3, 4, 8, 8), fill=0.5):
    return np.full((count, *shape), fill, dtype)


def saved(tmp_path, array):
    path = tmp_path / "clips.npy"
    np.save(path, array)
    return path


def test_a_leading_one_may_be_left_out(tmp_path):
    for shape in ((3, 4, 8, 8), (1, 3, 4, 8, 8)):
        samples = read_samples(saved(tmp_path, clips(shape=shape)), CLIP, what="calibration")
        assert samples.arrays["clip"].shape == (3, 1, 3, 4, 8, 8)
        assert samples.tensors(0)[0].shape == (1, 3, 4, 8, 8)
        assert samples.source == "3 inputs of clips.npy"


def test_several_inputs_come_from_one_npz(tmp_path):
    path = tmp_path / "both.npz"
    np.savez(path, text=np.zeros((2, 6), "int32"), clip=clips(2))
    samples = read_samples(path, BOTH, what="calibration")
    assert list(samples.arrays) == ["clip", "text"] and samples.count == 2
    assert samples.tensors(1)[1].shape == (1, 6)


def test_some_are_spread_evenly():
    samples = check_samples({"clip": clips(9)}, CLIP, source="clips.npy", where="calibration")
    assert samples.some(9) is samples
    few = samples.some(4)
    assert few.count == 4 and few.source == "4 of 9 inputs of clips.npy"


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            clips(shape=(3, 4, 8, 9)),
            r"input 'clip' has shape \[3, 1, 3, 4, 8, 9\]; it must be N x 3 x 4 x 8 x 8",
        ),
        (clips(0), "has no samples"),
        (clips(dtype="float64"), "is float64; it must be float32"),
        (clips(dtype="uint8", fill=7), r"is uint8; it must be float32 \(8-bit pixels: divide by 255\)"),
        (clips(fill=np.nan), "holds NaN or infinite values"),
        (clips(fill=255), r"has values in 255..255, outside 0..1; .* clip=1x3x4x8x8:LOW..HIGH"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, array, message):
    with pytest.raises(ValueError, match=f"calibration .*clips.npy: .*{message}"):
        read_samples(saved(tmp_path, array), CLIP, what="calibration")


def test_files_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"clips .*nowhere.npy: there is no such file"):
        read_samples(tmp_path / "nowhere.npy", CLIP, what="clips")
    (tmp_path / "text.npy").write_text("hello")
    with pytest.raises(ValueError, match=r"is not a .npy or .npz file of plain numbers"):
        read_samples(tmp_path / "text.npy", CLIP, what="clips")
    with pytest.raises(
        ValueError, match=r"the network has 2 inputs; give a .npz file with the arrays clip, text"
    ):
        read_samples(saved(tmp_path, clips()), BOTH, what="clips")
    arrays = {"clip": clips(2), "words": np.zeros((2, 6), "int64")}
    with pytest.raises(ValueError, match="holds clip, words; the inputs are clip, text"):
        check_samples(arrays, BOTH, source="", where="clips")
    arrays = {"clip": clips(2), "text": np.zeros((3, 6), "int64")}
    with pytest.raises(ValueError, match=r"different numbers of samples: {'clip': 2, 'text': 3}"):
        check_samples(arrays, BOTH, source="", where="clips")
    arrays = {"clip": clips(1), "text": np.full((1, 6), 10)}
    with pytest.raises(ValueError, match=r"input 'text' has values in 10..10, outside 0..9"):
        check_samples(arrays, BOTH, source="", where="clips")


def test_random_inputs_are_smooth_within_bounds_and_reproducible():
    samples = random_samples(parse_inputs(["1x3x8x32x32", "text=1x6:int64<10", "x=1x4"]), count=4)
    clip = samples.arrays["clip"]
    assert clip.shape == (4, 1, 3, 8, 32, 32) and 0 <= clip.min() < 0.2 and 0.8 < clip.max() <= 1
    assert np.abs(np.diff(clip, axis=-1)).mean() < 0.1 * clip.std() * 2
    assert samples.arrays["text"].min() >= 0 and samples.arrays["text"].max() <= 9
    again = random_samples(parse_inputs(["1x3x8x32x32", "text=1x6:int64<10", "x=1x4"]), count=4)
    assert all(np.array_equal(again.arrays[name], array) for name, array in samples.arrays.items())
    assert samples.source == "4 random inputs (smooth, seed 0)"
