import numpy as np
import pytest

from benchmarks.clips.augmentation import drawn_conditions
from benchmarks.clips.cache import Augmentation, open_clips
from benchmarks.clips.corruptions import CORRUPTIONS, SEVERITIES, Condition
from benchmarks.clips.rows import ClipRow
from models.spec import AudioSpec, ClipSpec, LabelSpec, TextSpec, VideoSpec
from tests.benchmarks.clips.films import film

OF_PICTURES = [name for name, row in CORRUPTIONS.items() if row.modality == "clip"]
SPEC = ClipSpec(
    video=VideoSpec(frames=4, size=16, resize=20),
    audio=AudioSpec(mels=16, bins=12),
    text=TextSpec(length=3, vocabulary=("oh", "well", "dear")),
    labels=(LabelSpec(name="word", classes=("no", "yes")),),
)


def gradient(frames=6, side=33):
    """A clip with edges whose frames all differ, uint8 `T H W 3`."""
    rows, columns = np.mgrid[:side, :side]
    shades = [(rows * 4 + columns * 2 + 12 * frame) % 200 + 20 for frame in range(frames)]
    return np.stack([np.stack([shade, 255 - shade, shade // 2], axis=-1) for shade in shades]).astype(
        np.uint8
    )


def corrupted(name, severity, values, *, seed=0, number=0):
    condition = Condition(name=name, severity=severity, seed=seed)
    return condition.apply(values, condition.generator(number))


@pytest.mark.parametrize("name", OF_PICTURES)
def test_a_picture_gets_worse_with_the_severity_and_is_the_same_every_time(name):
    clip = gradient(frames=16)
    before = clip.copy()
    versions = [corrupted(name, severity, clip) for severity in SEVERITIES]
    errors = [np.abs(version.astype(int) - clip).mean() for version in versions]
    assert all(version.shape == clip.shape and version.dtype == np.uint8 for version in versions)
    assert 0 < errors[0] < errors[1] < errors[2]
    assert np.array_equal(versions[1], corrupted(name, 2, clip))
    assert np.array_equal(clip, before)


@pytest.mark.parametrize("name", ["noise", "dropped_frames"])
def test_what_is_drawn_depends_on_the_seed_and_the_clip(name):
    clip = gradient(frames=12)
    versions = [
        corrupted(name, 2, clip, seed=seed, number=number) for seed, number in ((0, 0), (1, 0), (0, 1))
    ]
    assert not np.array_equal(versions[0], versions[1]) and not np.array_equal(versions[0], versions[2])


def test_dropped_frames_show_the_one_before():
    clip = gradient(frames=12)
    shown = [
        next(k for k in range(12) if np.array_equal(frame, clip[k]))
        for frame in corrupted("dropped_frames", 2, clip)
    ]
    assert shown[0] == 0 and shown == sorted(shown) and len(set(shown)) < 12
    assert all(source in (place, shown[place - 1]) for place, source in enumerate(shown))


def test_sound_is_missing_in_one_stretch():
    picture = np.zeros((4, 12), np.float32)
    for severity, bins in zip(SEVERITIES, (4, 8, 12), strict=True):
        silent = np.isclose(corrupted("missing_sound", severity, picture), np.log(1e-6)).all(axis=0)
        assert silent.sum() == bins and np.abs(np.diff(silent.astype(int))).sum() <= 2


def test_a_wrong_caption_takes_words_of_another_one():
    captions = np.array([[2, 2, 2, 2, 2, 2], [3, 4, 5, 6, 7, 8]])
    mixed = corrupted("wrong_caption", 1, captions)
    assert set(np.unique(mixed == captions[0]).tolist()) == {False, True}
    assert corrupted("wrong_caption", 3, captions).tolist() == captions[1].tolist()


def test_unknown_corruptions_and_severities_are_refused():
    with pytest.raises(
        ValueError, match=r"unknown corruption 'nois'; allowed: noise, .*; did you mean 'noise'\?"
    ):
        Condition(name="nois", severity=1, seed=0)
    with pytest.raises(ValueError, match="severity 4 of 'blur': allowed are 1, 2, 3"):
        Condition(name="blur", severity=4, seed=0)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    rows = [
        ClipRow(path=film(folder / f"{hz}.mp4", tone_hz=hz), split="test", labels={"word": word}, text=text)
        for hz, word, text in ((500, "no", "oh well"), (900, "yes", "dear oh dear"))
    ]
    return open_clips(rows, SPEC, cache=folder / "cache")


def test_a_set_under_conditions_has_every_clip_under_each(clips):
    conditions = [
        Condition(name=name, severity=3, seed=1) for name in ("noise", "missing_sound", "wrong_caption")
    ]
    under = clips.with_corruptions(conditions)
    assert len(under) == 6 and under.labels.tolist() == clips.labels.repeat(3, 1).tolist()
    clean, found = clips.batch([0, 1]), under.batch(range(6))
    for place, condition in enumerate(conditions):
        for name, before, after in zip(SPEC.inputs, clean, found, strict=True):
            changed = not np.array_equal(before, after[2 * place : 2 * place + 2])
            assert changed == (name == condition.modality), (condition, name)
    assert found[2][4].tolist() == clean[2][1].tolist()
    assert under.digest != clips.digest
    alone = under.select(("clip",)).batch([1])[0]
    assert np.array_equal(alone[0], found[0][1])
    with pytest.raises(ValueError, match="clips that already have 3"):
        under.with_corruptions(conditions)


def test_a_view_corrupts_about_half_of_the_clips_and_its_clean_one_none(clips):
    augmentation = Augmentation(number=0, seed=3, corruptions=("noise", "brightness"))
    drawn = drawn_conditions(augmentation, range(400))
    assert (
        drawn
        == drawn_conditions(augmentation, range(400))
        != drawn_conditions(Augmentation(**{**vars(augmentation), "number": 1}), range(400))
    )
    kinds = {(each.name, each.severity) for each in drawn if each}
    assert len(kinds) == 6 and 150 < sum(each is not None for each in drawn) < 250
    assert drawn_conditions(augmentation.clean, range(400)) == [None] * 400
    plain, noisy = (
        clips.batch([0, 1], augmentation=augmentation.clean),
        clips.batch([0, 1], augmentation=augmentation),
    )
    changed = [not np.array_equal(a, b) for a, b in zip(plain[0], noisy[0], strict=True)]
    assert changed == [each is not None for each in drawn[:2]]
