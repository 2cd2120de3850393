"""The folder of a run: its ledger, its lock, and its consistency at every moment."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from compress.artifact import STAGE_FILES
from compress.folders.ledger import COPY, LEDGER, FolderRefused, Ledger, entries
from compress.folders.results import stored
from compress.recipe import load_recipe
from compress.run_folder import ROOT_FILES, UNFINISHED, check_run_folder, opened, stage_names
from compress.steps.kept import keep, kept
from compress.store import content_key

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "tests" / "recipes" / "tiny.yaml"
ONLY_ONNX = "export.formats=[onnx]"


def recipe_with(*overrides):
    return load_recipe(RECIPE, overrides=[ONLY_ONNX, *overrides])


def check(out, *overrides, recipe_path=RECIPE, cache=Path("no-such-cache")):
    check_run_folder(out, recipe_with(*overrides), recipe_path=recipe_path, cache=cache, plan_only=True)


def snapshot(folder):
    return {name: (folder / name).read_bytes() for name in entries(folder)}


class Stopped(Exception):
    """Stands for whatever ends a run."""


def run(out, text, *, stop=None, recipe=None, fresh=False):
    """A run whose stages and report hold `text`; `stop` names the step before which it is stopped."""
    recipe = recipe or recipe_with(f"seed={text}")
    said = Console(quiet=True)
    with opened(out, recipe, console=said) as folder:
        folder.begin(fresh=fresh)
        results = {}
        for name in stage_names(recipe):
            if stop == name:
                raise Stopped(name)
            key = content_key(code=(), text=text if name != "00_teacher" else "shared")
            stored(
                folder.place / "stages" / name,
                key=key,
                make=lambda work: (work / "artifact.json").write_text(text),
                load=lambda made: made,
                names=STAGE_FILES,
                also=[earlier / "stages" / name for earlier in folder.finished],
            )
            results[f"stages/{name}"] = key
        if stop == "report":
            raise Stopped
        for name in ("report.json", "report.md", "report.html"):
            (folder.place / name).write_text(text)
        folder.finish(results)


def holds(out):
    """The texts of the recipe and everything else in place, without what is unfinished."""
    found = {"recipe": load_recipe(out / "recipe.yaml").seed}
    for name in entries(out):
        if not name.startswith((".", UNFINISHED)) and not name.endswith(".json.copy"):
            path = out / name
            if path.name in ("report.json", "report.md", "report.html", "artifact.json"):
                found[name] = path.read_text()
    return found


def test_a_folder_with_files_of_others_is_refused_and_stays_as_it_is(tmp_path):
    for name in ("recipe.yaml", "stages/01_distill/mine.txt", "export/notes.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = snapshot(tmp_path)
    with pytest.raises(
        FolderRefused, match=r"contains results of an earlier version of Pocketreel.*or move this one"
    ):
        check(tmp_path)
    (tmp_path / "recipe.yaml").unlink()
    with pytest.raises(
        FolderRefused, match=r"contains files that are not results of a run \(such as export\)"
    ):
        check(tmp_path)
    with (
        pytest.raises(FolderRefused, match="not results of a run"),
        opened(tmp_path, recipe_with(), console=Console(quiet=True)),
    ):
        pass
    before.pop("recipe.yaml")
    after = snapshot(tmp_path)
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize(
    ("out", "what"),
    [
        ("/", "the checkout of Pocketreel|the recipe"),
        (ROOT, "the recipe|the checkout of Pocketreel"),
        (ROOT.parent, "the recipe|the checkout of Pocketreel"),
        (Path.home(), "the home folder|the recipe|the checkout of Pocketreel"),
        (Path(os.path.relpath(ROOT)), "the recipe|the checkout of Pocketreel"),
    ],
)
def test_places_that_no_run_may_write_into(out, what):
    with pytest.raises(FolderRefused, match=rf"--out .* is or contains ({what}) \("):
        check(Path(out))


def test_neither_recipe_nor_data_nor_weights_may_lie_in_it(tmp_path):
    out = tmp_path / "out"
    (out / "deep").mkdir(parents=True)
    shutil.copy(RECIPE, out / "deep" / "mine.yaml")
    with pytest.raises(FolderRefused, match="is or contains the recipe"):
        check(out, recipe_path=out / "deep" / "mine.yaml")
    manifest = out / "deep" / "data.csv"
    manifest.write_text("path,split,label\n")
    spelled = tmp_path / "out" / ".." / "out"
    data = f"data={{source: manifest, manifest: {manifest}, labels: [label]}}"
    with pytest.raises(FolderRefused, match=r"is or contains the recipe's data\.manifest"):
        check(spelled, data)
    (tmp_path / "link").symlink_to(out / "deep")
    with pytest.raises(FolderRefused, match=r"is or contains the recipe's data\.root"):
        check(out, f"data={{source: folder, root: {tmp_path / 'link'}}}")
    (out / "deep" / "net.pt").touch()
    teacher = f"teacher={{factory: 'os.path:basename', weights: {out / 'deep' / 'net.pt'}}}"
    with pytest.raises(FolderRefused, match=r"is or contains the recipe's teacher\.weights"):
        check(out, teacher)


def test_links_and_files_are_refused_with_a_sentence(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    for name in ("link", "dangling"):
        with pytest.raises(FolderRefused, match=f"{name} is a symbolic link"):
            check(tmp_path / name)
    with pytest.raises(FolderRefused, match="file is a file; give a folder"):
        check(tmp_path / "file")
    run(tmp_path / "ours", "1")
    (tmp_path / "ours" / "stages").rename(tmp_path / "moved")
    (tmp_path / "ours" / "stages").symlink_to(tmp_path / "moved")
    with pytest.raises(FolderRefused, match="stages is a symbolic link"):
        check(tmp_path / "ours")
    check(tmp_path / "real" / "new")


@pytest.mark.parametrize(
    "name",
    [
        "robustness.json",
        "stages/01_distill/program.pt2",
        "stages/04_more/mine",
        "export/onnx/w8a8/model.onnx",
    ],
)
def test_names_of_ours_that_others_took_are_refused(tmp_path, name):
    run(tmp_path / "o", "1")
    mine = tmp_path / "o" / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("mine")
    if "mine" in name:
        check(tmp_path / "o")  # no name that a run needs
    else:
        with pytest.raises(FolderRefused, match=f"{re.escape(name)} was not written by Pocketreel"):
            check(tmp_path / "o")
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("name", ["report.json", "stages/00_teacher/artifact.json", "export/manifest.json"])
def test_a_folder_where_a_file_has_to_go_is_refused(tmp_path, name):
    run(tmp_path / "o", "1")
    (tmp_path / "o" / name).unlink(missing_ok=True)
    (tmp_path / "o" / name).mkdir(parents=True)
    with pytest.raises(
        FolderRefused, match=f"{re.escape(name)} is a folder, but a file of that name would be"
    ):
        check(tmp_path / "o")


def test_a_file_where_a_folder_has_to_go_is_refused(tmp_path):
    with opened(tmp_path / "o", recipe_with(), console=Console(quiet=True)):
        pass
    (tmp_path / "o" / "stages").write_text("mine")
    with pytest.raises(FolderRefused, match="stages is a file, but a folder of that name is needed"):
        check(tmp_path / "o")


@pytest.mark.parametrize(
    ("cache", "message"),
    [(".", "is also the cache"), ("stages", "is inside the results of --out"), ("export/x", "is inside")],
)
def test_the_cache_lies_elsewhere(tmp_path, cache, message):
    with pytest.raises(FolderRefused, match=message):
        check(tmp_path / "o", cache=tmp_path / "o" / cache)
    check(tmp_path / "o", cache=tmp_path / "o" / "cache")


def test_the_folder_of_an_export_is_no_folder_of_a_run(tmp_path):
    Ledger(folder=tmp_path, kind="export").save()
    with pytest.raises(FolderRefused, match="contains another kind of result"):
        check(tmp_path)


def test_a_killed_run_leaves_a_folder_that_the_next_one_takes(tmp_path):
    with pytest.raises(Stopped):
        run(tmp_path / "o", "1", stop="02_prune")
    check(tmp_path / "o")
    run(tmp_path / "o", "1")
    assert set(holds(tmp_path / "o").values()) == {1, "1"}


def test_results_of_a_finished_run_stay_until_the_next_is_finished(tmp_path):
    out = tmp_path / "o"
    run(out, "1")
    first = holds(out)
    assert len(first) == 8 and set(first.values()) == {1, "1"}
    for stop in ("00_teacher", "02_prune", "report"):
        with pytest.raises(Stopped):
            run(out, "2", stop=stop)
        assert holds(out) == first
        assert load_recipe(out / UNFINISHED / "recipe.yaml").seed == 2
    run(out, "2")
    assert not (out / UNFINISHED).exists()
    second = holds(out)
    assert second.pop("stages/00_teacher/artifact.json") == "1", "the same in both runs"
    assert set(second.values()) == {2, "2"} and len(second) == 7


def test_a_third_run_does_not_bring_in_what_a_second_left_unfinished(tmp_path):
    out = tmp_path / "o"
    run(out, "1")
    with pytest.raises(Stopped):
        run(out, "2", stop="report")
    run(out, "1")
    assert set(holds(out).values()) == {1, "1"}
    assert not (out / UNFINISHED).exists()


def test_an_unfinished_first_run_is_not_mixed_with_another(tmp_path):
    out = tmp_path / "o"
    with pytest.raises(Stopped):
        run(out, "1", stop="report")
    with pytest.raises(Stopped):
        run(out, "2", stop="report")
    assert set(holds(out).values()) == {1, "1"}
    run(out, "2")
    assert {value for name, value in holds(out).items() if "teacher" not in name} == {2, "2"}


def test_stages_that_the_new_recipe_does_not_have_go(tmp_path):
    out = tmp_path / "o"
    run(out, "1")
    (out / "stages" / "03_quantize" / "mine.txt").write_text("mine")
    run(out, "2", recipe=recipe_with("seed=2", "stages=[{distill: {epochs: 1, batch: 8}}]"))
    assert sorted(path.name for path in (out / "stages").iterdir()) == [
        "00_teacher",
        "01_distill",
        "03_quantize",
    ]
    assert list(entries(out / "stages" / "03_quantize")) == ["mine.txt"]


@pytest.mark.parametrize("calls", range(1, 40, 3))
def test_a_swap_killed_at_any_moment_is_finished_by_the_next_run(tmp_path, calls, monkeypatch):
    out = tmp_path / "o"
    run(out, "1")
    (out / "stages" / "01_distill" / "mine.txt").write_text("mine")
    with pytest.raises(Stopped):
        run(out, "2", stop="report")
    path_type, left = type(out), [calls]
    originals = {name: getattr(path_type, name) for name in ("replace", "unlink", "rename", "rmdir")}

    def counted(name):
        def call(self, *arguments, **options):
            if (out / UNFINISHED).exists() and "swapping" in (out / LEDGER).read_text():
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
            return originals[name](self, *arguments, **options)

        return call

    for name in originals:
        monkeypatch.setattr(path_type, name, counted(name))
    with contextlib.suppress(KeyboardInterrupt):
        run(out, "2")
    monkeypatch.undo()
    with opened(out, recipe_with("seed=1"), console=Console(quiet=True)):
        found = holds(out)
    assert found.pop("stages/00_teacher/artifact.json") == "1"
    assert set(found.values()) == {2, "2"} and len(found) == 7
    assert (out / "stages" / "01_distill" / "mine.txt").read_text() == "mine"
    assert not (out / UNFINISHED).exists()


def test_fresh_removes_what_is_ours_alone(tmp_path):
    out = tmp_path / "o"
    run(out, "1")
    with pytest.raises(Stopped):
        run(out, "2", stop="report")
    mine = [
        "mine.txt",
        "stages/01_distill/mine.txt",
        "unfinished/mine.txt",
        "stages/mine.txt",
        "export/notes.md",
    ]
    for name in mine:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")
    with pytest.raises(Stopped):
        run(out, "3", stop="00_teacher", fresh=True)
    left = [name for name in entries(out) if not Path(name).name.startswith(".pocketreel")]
    assert sorted(left) == sorted([*mine, "recipe.yaml"])
    assert all((out / name).read_text() == "mine" for name in mine)
    assert load_recipe(out / "recipe.yaml").seed == 3


def test_a_damaged_list_of_the_folder_is_mended_from_its_copy(tmp_path):
    out = tmp_path / "o"
    run(out, "1")
    (out / LEDGER).write_text((out / LEDGER).read_text().replace("finished", "finishes"))
    check(out)
    run(out, "1")
    (out / LEDGER).write_text("{")
    (out / COPY).write_text("{")
    with pytest.raises(FolderRefused, match=r"is damaged.*move the folder away, or choose another"):
        check(out)


def test_two_runs_in_one_folder(tmp_path):
    recipe, console = recipe_with(), Console(quiet=True)
    with opened(tmp_path / "o", recipe, console=console):
        in_use = rf"is in use by process {os.getpid()} on .*, since 20"
        with pytest.raises(FolderRefused, match=in_use), opened(tmp_path / "o", recipe, console=console):
            pass
    with opened(tmp_path / "o", recipe, console=console):
        pass


class _Run:
    """What `kept` and `keep` use of a run."""

    def __init__(self, folder, finished=()):
        self.folder, self.finished, self.said = folder, finished, []
        self.console = Console(quiet=True)

    def notify(self, sentence):
        self.said.append(sentence)


def test_figures_are_kept_with_their_hash(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    key = content_key(code=(), files={"onnx": "a"})
    old, new = _Run(tmp_path / "old"), _Run(tmp_path / "new", (tmp_path / "old",))
    assert kept(old, "benchmark.json", key=key, title="benchmark") is None and not old.said
    keep(old, "benchmark.json", {"onnx": 1.5}, key=key)
    assert kept(new, "benchmark.json", key=key, title="benchmark") == {"onnx": 1.5}
    assert (tmp_path / "new" / "benchmark.json").is_file(), "it is to be swapped in with the rest"
    other = content_key(code=(), files={"onnx": "b"})
    assert kept(old, "benchmark.json", key=other, title="benchmark") is None
    path = tmp_path / "old" / "benchmark.json"
    path.write_text(path.read_text().replace("1.5", "2.5"))
    assert kept(old, "benchmark.json", key=key, title="benchmark") is None
    assert old.said[0] == 'benchmark: measured again, because files.onnx ("a", now "b") changed'
    assert re.match(r"benchmark: measured again, because .*benchmark.json is damaged", old.said[1])


def test_every_root_file_is_known():
    assert set(ROOT_FILES) >= {"recipe.yaml", "report.json", "report.md", "report.html"}
