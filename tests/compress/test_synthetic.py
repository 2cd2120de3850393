import csv
import hashlib
from collections import Counter

import av
import numpy as np
import pytest
from pydantic import ValidationError

from compress.sources.synthetic import SplitSizes, SyntheticData, synthetic_key, write_synthetic
from compress.synthetic_scenes import CLASSES, SIDE, TAGS, THINGS, Hardness, draw_caption, draw_sound, path

pytestmark = pytest.mark.slow

SMALL = SyntheticData(source="synthetic", clips=SplitSizes(train=40, validation=8, test=16))
EASY, USUAL = Hardness.of(0.0), Hardness.of(0.5)


def write(folder, config=SMALL, workers=0):
    folder.mkdir()
    write_synthetic(config, folder, workers=workers, report=lambda done, total: None)
    with (folder / "manifest.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic") / "data"
    return folder, write(folder)


def contents(folder):
    files = sorted(each for each in folder.rglob("*") if each.is_file())
    return {each.relative_to(folder): hashlib.sha256(each.read_bytes()).hexdigest() for each in files}


def test_the_same_seed_gives_the_same_bytes_whatever_the_workers(written, tmp_path):
    folder, _ = written
    write(tmp_path / "again", workers=2)
    assert contents(tmp_path / "again") == contents(folder)
    other = SMALL.model_copy(update={"seed": 1})
    write(tmp_path / "other", config=other, workers=2)
    assert set(contents(tmp_path / "other").values()).isdisjoint(contents(folder).values())
    assert synthetic_key(other) != synthetic_key(SMALL)


def test_files_are_h264_and_aac_of_one_second(written):
    folder, rows = written
    with av.open(str(folder / rows[0]["path"])) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (video.width, video.height, video.frames) == (SIDE, SIDE, 16)
        assert container.duration == pytest.approx(1_000_000, abs=70_000)


def test_splits_are_balanced_and_only_training_labels_are_wrong(written):
    _, rows = written
    assert Counter(row["split"] for row in rows) == {"train": 40, "validation": 8, "test": 16}
    for split, each in (("train", 5), ("validation", 1), ("test", 2)):
        true = Counter(row["true_label"] for row in rows if row["split"] == split)
        assert true == dict.fromkeys(CLASSES, each)
    wrong = Counter(row["split"] for row in rows if row["label"] != row["true_label"])
    assert set(wrong) == {"train"}
    assert 1 <= wrong["train"] <= 20


def test_nothing_is_wrong_or_missing_without_difficulty(tmp_path):
    rows = write(tmp_path / "easy", config=SMALL.model_copy(update={"difficulty": 0.0}), workers=2)
    assert all(row["label"] == row["true_label"] for row in rows)
    assert all(row["text"] for row in rows)


def test_further_tasks_are_right_in_every_split(written):
    _, rows = written
    for row in rows:
        assert row["thing"] in THINGS
        assert row["tags"].split(";") == [*TAGS[row["true_label"]], *TAGS[row["thing"]]]
        assert row["text"] == "" or row["thing"] in row["text"]


def test_the_choice_of_tasks_does_not_change_the_files():
    assert synthetic_key(SMALL.model_copy(update={"labels": ["thing"], "tags": ["tags"]})) == synthetic_key(
        SMALL
    )


def test_half_way_nothing_tells_the_classes_apart():
    """The mean and spread of place and size agree between all classes within what chance allows."""
    states = {
        motion: np.array(
            [
                np.append(at[8], size[8])
                for at, size in (
                    path(motion, USUAL, np.random.default_rng(seed), frames=17) for seed in range(400)
                )
            ]
        )
        for motion in CLASSES
    }
    everything = np.concatenate(list(states.values()))
    for state in states.values():
        assert np.abs(state.mean(0) - everything.mean(0)).max() < 0.2 * everything.std(0).max()
        assert np.abs(state.std(0) / everything.std(0) - 1).max() < 0.15


@pytest.mark.parametrize("motion", CLASSES)
def test_motions_go_where_they_say(motion):
    for seed in range(20):
        at, sizes = path(motion, EASY, np.random.default_rng(seed), frames=16)
        right, down = at[-3:].mean(0) - at[:3].mean(0)
        if motion.startswith("move"):
            travelled = {"left": -right, "right": right, "up": -down, "down": down}[motion[5:]]
            assert travelled > 15
        elif motion.startswith("orbit"):
            step = np.diff(at, axis=0)
            turning = np.sum(step[:-1, 0] * step[1:, 1] - step[:-1, 1] * step[1:, 0])
            assert (turning > 0) == (motion == "orbit_clockwise")  # y points down
        else:
            assert (sizes[-1] > 1.5 * sizes[0]) == (motion == "approach")
            assert (sizes[0] > 1.5 * sizes[-1]) == (motion == "recede")


def test_sound_and_captions_tell_what_they_should():
    random = np.random.default_rng(0)
    sounds = {motion: draw_sound(motion, EASY, random) for motion in CLASSES}
    assert all(sound.dtype == np.float32 and 0.1 < np.abs(sound).max() <= 1 for sound in sounds.values())
    loud = {
        motion: np.abs(sound[-4_000:]).mean() / np.abs(sound[:4_000]).mean()
        for motion, sound in sounds.items()
    }
    assert loud["approach"] > 2 > 0.5 > loud["recede"]
    assert "left" in draw_caption("move_left", "ball", EASY, random)
    found = Counter(draw_caption("move_left", "ball", USUAL, random) for _ in range(400))
    assert 20 < found[""] < 140
    assert 20 < sum(count for text, count in found.items() if text and "left" not in text) < 160


def test_settings_are_checked():
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        SyntheticData(source="synthetic", difficulty=1.5)
    with pytest.raises(ValidationError, match="Extra inputs"):
        SyntheticData(source="synthetic", difficulties=0.5)


def test_every_kind_of_hardness_grows_with_difficulty():
    easy, hard = Hardness.of(0.0), Hardness.of(1.0)
    for name, value in vars(easy).items():
        if name == "smallest_motion":
            assert value > getattr(hard, name) > 0
        else:
            assert value < getattr(hard, name)
