"""Results are verified before use, and files of others are kept."""

from __future__ import annotations

import pytest

from compress.folders.keys import Key, difference
from compress.folders.ledger import COPY, LEDGER, FolderRefused, Ledger, scratch_folder
from compress.folders.results import publish, stored
from compress.folders.writing import Damaged, read_sealed, read_sealed_json, write_sealed, write_sealed_json


def make_value(text):
    def make(work):
        (work / "value").write_text(text)
        (work / "deep").mkdir(exist_ok=True)
        (work / "deep" / "more").write_text("more")

    return make


def load(folder):
    return (folder / "value").read_text()


def keep(folder, text="one", *, key="k", told=None, also=(), names=("value", "deep/more", "half")):
    return stored(
        folder,
        key=key,
        make=make_value(text),
        load=load,
        names=names,
        also=also,
        notify=(told if told is not None else []).append,
    )


def flip(path, at=-1):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["value", "deep/more"])
@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (flip, "is damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes instead of"),
        (lambda path: path.unlink(), "is missing"),
    ],
)
def test_a_damaged_result_is_made_again_and_said(tmp_path, name, harm, reason):
    keep(tmp_path / "a")
    harm(tmp_path / "a" / name)
    told = []
    again = keep(tmp_path / "a", told=told)
    assert (again.value, again.cached) == ("one", False)
    (sentence,) = told
    assert "a: computed again, because" in sentence and str(tmp_path / "a" / name) in sentence
    assert reason in sentence
    assert keep(tmp_path / "a", told=told).cached and len(told) == 1


@pytest.mark.parametrize("at", range(0, 400, 37))
def test_a_byte_of_the_ledger_does_not_cost_the_result(tmp_path, at):
    keep(tmp_path / "a")
    flip(tmp_path / "a" / LEDGER, at)
    told = []
    assert keep(tmp_path / "a", told=told).cached
    assert "its copy is intact and is used instead" in told[0]
    assert keep(tmp_path / "a", told=told).cached and len(told) == 1


def test_a_ledger_lost_with_its_copy_stops_everything(tmp_path):
    keep(tmp_path / "a")
    for name in (LEDGER, COPY):
        (tmp_path / "a" / name).write_text("[]")
    with pytest.raises(FolderRefused, match=r"the list of Pocketreel's files in .* is lost: move the folder"):
        keep(tmp_path / "a")
    assert (tmp_path / "a" / "value").exists()


def test_what_load_cannot_read_is_made_again(tmp_path):
    keep(tmp_path / "a")
    readings = []

    def reads_once(folder):
        readings.append(folder)
        if len(readings) == 1:
            raise KeyError("audio")
        return "fine"

    told = []
    again = stored(tmp_path / "a", key="k", make=make_value("x"), load=reads_once, notify=told.append)
    assert (again.value, again.cached) == ("fine", False)
    assert "cannot be read (KeyError: 'audio')" in told[0]


def test_a_miss_says_which_part_of_the_key_changed(tmp_path):
    first = Key.of({"config": {"epochs": 2, "batch": 8}, "data": {"train": "f" * 64}, "seed": 0})
    second = Key.of({"config": {"epochs": 3, "batch": 8}, "data": {"train": "e" * 64}, "seed": 0})
    assert first != second and len(first) == 64
    keep(tmp_path / "a", key=first)
    told = []
    assert not keep(tmp_path / "a", key=second, told=told).cached
    assert told == ["a: computed again, because config.epochs (2, now 3), data.train changed"]


def test_differences_name_four_parts_at_most():
    earlier, now = {str(n): "1" for n in range(9)}, {str(n): "2" for n in range(9)}
    assert difference(earlier, now).endswith("3 (1, now 2) and 5 more changed")
    assert difference({}, now) == "its key changed"
    assert difference({"a": "1"}, {"b": "2"}) == "a (removed), b (new) changed"


def test_files_of_others_survive_in_every_place(tmp_path):
    keep(tmp_path / "a")
    (tmp_path / "a" / "mine.txt").write_text("mine")
    (tmp_path / "a" / "deep" / "mine.txt").write_text("mine")
    (tmp_path / "a.partial").mkdir()
    (tmp_path / "a.partial" / "mine.txt").write_text("mine")
    assert keep(tmp_path / "a", "two", key="other").value == "two"
    mine = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("mine.txt"))
    assert mine == ["a.partial/mine.txt", "a/deep/mine.txt", "a/mine.txt"]
    Ledger.read(tmp_path / "a").remove()
    left = sorted(path.name for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert left == ["mine.txt", "mine.txt"]


@pytest.mark.parametrize("place", ["a", "a.partial"])
def test_a_name_that_is_taken_is_refused_before_work(tmp_path, place):
    (tmp_path / place).mkdir()
    (tmp_path / place / "value").write_text("mine")
    with pytest.raises(FolderRefused, match=f"{place}/value was not written by Pocketreel, but would be"):
        stored(tmp_path / "a", key="k", make=lambda _: pytest.fail("made"), load=load, names=("value",))
    assert (tmp_path / place / "value").read_text() == "mine"


def test_links_are_never_written_through(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FolderRefused, match="is a symbolic link"):
        keep(tmp_path / "a")
    keep(tmp_path / "b")
    (tmp_path / "treasure").write_text("mine")
    (tmp_path / "b" / "value").unlink()
    (tmp_path / "b" / "value").symlink_to(tmp_path / "treasure")
    with pytest.raises(FolderRefused, match="is a symbolic link"):
        keep(tmp_path / "b", "two", key="other")
    assert (tmp_path / "treasure").read_text() == "mine"


def test_a_result_that_is_elsewhere_is_taken_from_there(tmp_path):
    keep(tmp_path / "old" / "a", key="k")
    found = keep(tmp_path / "new" / "a", "two", also=[tmp_path / "old" / "a"])
    assert (found.value, found.cached) == ("one", True)
    assert not (tmp_path / "new" / "a").exists()


def test_what_was_whole_when_the_process_was_killed_is_put_in_place(tmp_path):
    keep(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "a.partial")
    found = stored(tmp_path / "a", key="k", make=lambda _: pytest.fail("made"), load=load, names=("value",))
    assert found.value == "one" and not (tmp_path / "a.partial").exists()


@pytest.mark.parametrize("moved", range(4))
def test_a_swap_that_was_interrupted_goes_on(tmp_path, moved, monkeypatch):
    """At every file that is moved; a file of another keeps the folders from being renamed as a whole."""
    keep(tmp_path / "a")
    (tmp_path / "a" / "mine.txt").write_text("mine")
    keep(tmp_path / "b", "two", key="other")
    (tmp_path / "b").rename(tmp_path / "a.partial")
    path_type = type(tmp_path)
    replace, left = path_type.replace, [moved]

    def dies(self, target):
        if self.name in ("value", "more"):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
        return replace(self, target)

    monkeypatch.setattr(path_type, "replace", dies)
    if moved < 2:
        with pytest.raises(KeyboardInterrupt):
            publish(tmp_path / "a.partial", tmp_path / "a")
        left[0] = 9
    publish(tmp_path / "a.partial", tmp_path / "a") if (tmp_path / "a.partial").exists() else None
    assert keep(tmp_path / "a", key="other").cached and load(tmp_path / "a") == "two"
    assert (tmp_path / "a" / "mine.txt").read_text() == "mine" and not (tmp_path / "a.partial").exists()


def test_sealed_files_notice_every_flipped_byte(tmp_path):
    write_sealed(tmp_path / "bytes", b"some bytes")
    write_sealed_json(tmp_path / "json", {"key": "k", "numbers": [1.5, None], "name": "Tür"})
    assert read_sealed(tmp_path / "bytes") == b"some bytes"
    assert read_sealed_json(tmp_path / "json") == {"key": "k", "numbers": [1.5, None], "name": "Tür"}
    whole = (tmp_path / "bytes").read_bytes()
    for at in range(len(whole)):
        flip(tmp_path / "bytes", at)
        with pytest.raises(Damaged, match="is damaged"):
            read_sealed(tmp_path / "bytes")
        (tmp_path / "bytes").write_bytes(whole)
    (tmp_path / "json").write_text((tmp_path / "json").read_text().replace("1.5", "2.5"))
    with pytest.raises(Damaged, match="does not match its SHA-256"):
        read_sealed_json(tmp_path / "json")


def test_scratch_is_ours_until_the_end(tmp_path):
    with scratch_folder(tmp_path / "s", ("checkpoint.pt",)):
        (tmp_path / "s" / "checkpoint.pt").touch()
        (tmp_path / "s" / "mine").touch()
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["mine"]
    (tmp_path / "s" / "checkpoint.pt").touch()
    with (
        pytest.raises(FolderRefused, match="was not written by Pocketreel"),
        scratch_folder(tmp_path / "s", ("checkpoint.pt",)),
    ):
        pass
