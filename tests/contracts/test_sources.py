"""Contract of every row of `SOURCES`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError
from rich.console import Console

from benchmarks.clips.rows import SPLITS
from compress.clip import ClipConfig
from compress.data import list_data, open_data, spec_before_clips
from compress.recipe import load_recipe
from compress.sources import SOURCES
from compress.sources.source import Reading, SourceConfig
from compress.sources.synthetic import SyntheticData, write_synthetic

CLIP = ClipConfig(frames=4, size=16)
SIZES = {"train": 16, "validation": 8, "test": 8}
RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "tiny.yaml"


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A manifest and 32 videos, of which every example below is made."""
    folder = tmp_path_factory.mktemp("videos")
    config = SyntheticData.model_validate({"source": "synthetic", "clips": SIZES, "difficulty": 0.2})
    write_synthetic(config, folder, workers=0, report=lambda done, total: None)
    return folder


def as_tree(videos, folder):
    """The same videos as split/class/clip.mp4."""
    for number, row in enumerate((videos / "manifest.csv").read_text().splitlines()[1:]):
        path, split, label = row.split(",")[:3]
        place = folder / split / label
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(videos / path, place / f"{number}.mp4")
    return folder


EXAMPLES = {
    "synthetic": lambda videos, folder: {"clips": SIZES, "difficulty": 0.2},
    "manifest": lambda videos, folder: {"manifest": str(videos / "manifest.csv"), "labels": ["label"]},
    "folder": lambda videos, folder: {"root": str(as_tree(videos, folder))},
}
"""Settings of each source for clips that are there; `videos` has some, `folder` is empty."""


def test_every_source_has_an_example():
    assert set(EXAMPLES) == set(SOURCES)


@pytest.fixture(params=list(SOURCES))
def name(request):
    return request.param


@pytest.fixture
def config(name, videos, tmp_path):
    settings = EXAMPLES[name](videos, tmp_path / "own")
    return SOURCES[name].config.model_validate({"source": name, **settings})


def reading(folder):
    return Reading(cache=folder / "cache", workers=0, console=Console(quiet=True))


def test_its_settings_name_it_and_refuse_unknown_keys(name, config):
    row = SOURCES[name].config
    assert issubclass(row, SourceConfig)
    assert get_args(row.model_fields["source"].annotation) == (name,) and config.source == name
    assert config.labels and isinstance(config.tag_separator, str)
    with pytest.raises(ValidationError, match="labells"):
        row.model_validate({**config.model_dump(), "labells": ["x"]})


def test_it_lists_real_files_of_all_splits_with_every_label_column(name, config, tmp_path):
    found = SOURCES[name].read(config, reading(tmp_path))
    assert {row.split for row in found.rows} == set(SPLITS)
    assert all(row.path.is_file() and row.path.is_relative_to(found.root) for row in found.rows)
    assert all(list(row.labels) == list(config.labels) for row in found.rows)
    assert found.root.is_absolute()


def test_asked_twice_it_lists_the_same(name, config, tmp_path):
    first, again = (SOURCES[name].read(config, reading(tmp_path)) for _ in range(2))
    assert first == again


def test_labels_that_it_knows_beforehand_are_those_of_its_clips(name, config, tmp_path):
    known = spec_before_clips(config, CLIP, inputs=None)
    assert (known is None) is (SOURCES[name].labels is None)
    cache, console = tmp_path / "cache", Console(quiet=True)
    found = list_data(config, CLIP, cache=cache, workers=0, seed=0, console=console)
    assert known is None or known == found.spec


def test_all_of_its_clips_are_decoded_the_same_every_time(config, tmp_path):
    where = {"cache": tmp_path / "cache", "workers": 0, "seed": 0, "console": Console(quiet=True)}
    data = open_data(config, CLIP, **where)
    assert [len(clips) for clips in (data.train, data.validation, data.test)] == list(SIZES.values())
    assert open_data(config, CLIP, **where).train.digest == data.train.digest


def test_recipes_take_it(name, config):
    plain = json.dumps(config.model_dump(mode="json"))
    assert load_recipe(RECIPE, overrides=[f"data={plain}", "clip.text=null"]).data == config
