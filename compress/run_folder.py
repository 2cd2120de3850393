"""The folder of a run: listed in a ledger, locked by one run at a time, and always consistent.

Results of a finished run stay in place until the next one is finished, which writes to `unfinished/` and is
swapped in at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from rich.console import Console

from benchmarks.predictions import FOLDER as PREDICTIONS
from benchmarks.predictions import NAMES as PREDICTIONS_NAMES
from compress.artifact import STAGE_FILES
from compress.data import Data
from compress.folders.keys import Key
from compress.folders.ledger import OWN_NAMES, FolderRefused, Ledger, check_names
from compress.folders.locks import held
from compress.folders.output import check_clear, contains
from compress.folders.results import publish
from compress.folders.writing import fingerprint, write_atomic
from compress.recipe.sections import Recipe, paths_in
from compress.recipe.source import dump_yaml
from compress.sources.source import FilesConfig
from compress.steps.reference_clip import NAMES as REFERENCE_NAMES
from export.files import pairs
from export.out_folder import check_folders, place_of

ROOT_FILES = (
    *("recipe.yaml", "report.json", "report.md", "report.html"),
    *("benchmark.json", "robustness.json"),
)
UNFINISHED = "unfinished"
_CHECKOUT = Path(__file__).resolve().parent.parent


def check_run_folder(out: Path, recipe: Recipe, *, recipe_path: Path, cache: Path, plan_only: bool) -> None:
    """Raises `FolderRefused` if a run of this recipe cannot be written into `out` without touching other files."""
    named = [(f"the recipe's {'.'.join(map(str, place))}", path) for place, path in paths_in(recipe)]
    check_clear(
        out,
        [
            ("the recipe", recipe_path),
            *named,
            ("the checkout of Pocketreel", _CHECKOUT),
            *_home(),
        ],
    )
    if contains(cache, out) and contains(out, cache):
        raise FolderRefused(f"--out {out} is also the cache: choose another folder")
    for name in ("stages", "export", PREDICTIONS, UNFINISHED):
        if contains(out / name, cache):
            raise FolderRefused(
                f"--cache {cache} is inside the results of --out {out}: choose another folder"
            )
    if not out.is_dir():
        return
    ledger = Ledger.read(out)
    if ledger is None:
        _refuse_foreign(out)
    elif ledger.kind != "run":
        raise FolderRefused(f"--out {out} contains another kind of result: choose another folder")
    if plan_only:  # a run checks it after locking the folder
        _check_places(out, recipe)


def _home() -> list[tuple[str, Path]]:
    """The home folder; an account without a name, as in containers, may have none."""
    try:
        return [("the home folder", Path.home())]
    except RuntimeError:
        return []


def _check_places(out: Path, recipe: Recipe) -> None:
    """Raises `FolderRefused` if a required name is taken by a file that is not Pocketreel's."""
    places = [place_of(*one) for one in pairs(recipe.export.formats, recipe.schemes)]
    for root in (out, out / UNFINISHED):
        check_names(root, ROOT_FILES)
        check_names(root / "stages", ())
        for name in stage_names(recipe):
            for folder in (root / "stages" / name, root / "stages" / f"{name}.partial"):
                check_names(folder, STAGE_FILES)
        check_folders(root / "export", places)
        check_names(root / "export", REFERENCE_NAMES)
        check_names(root / PREDICTIONS, PREDICTIONS_NAMES)


def _refuse_foreign(out: Path) -> None:
    there = [path for path in out.iterdir() if not path.match(OWN_NAMES)]
    if not there:
        return
    if (out / "recipe.yaml").is_file() and (out / "stages").is_dir():
        raise FolderRefused(
            f"--out {out} contains results of an earlier version of Pocketreel, without the list of its files that "
            "distinguishes them from yours: choose another folder, or move this one away"
        )
    raise FolderRefused(
        f"--out {out} contains files that are not results of a run (such as {min(there).name}), which are never "
        "changed: choose a new or an empty folder"
    )


def stage_names(recipe: Recipe) -> list[str]:
    """Names of the folders in `stages/` of a run of the recipe."""
    verbs = [entry.verb for entry in recipe.stages] or ["student"]
    first = [f"00_{name}" for name in recipe.named_teachers]
    return first + [f"{number:02d}_{verb}" for number, verb in enumerate(verbs, start=1)]


class RunFolder:
    """The folder of a run in progress, locked by this process."""

    def __init__(self, out: Path, recipe: Recipe, ledger: Ledger) -> None:
        self.out, self._recipe, self._ledger = out, recipe, ledger
        self.place = out
        """The folder that this run writes to."""
        self.finished: tuple[Path, ...] = ()
        """Folders with results of the previous run."""

    def check_clips(self, data: Data) -> None:
        """Raises `FolderRefused` if the folder contains clips of the user."""
        paths = [row.path for clips in (data.taught, data.validation, data.test) for row in clips.rows]
        for parent in dict.fromkeys(path.parent for path in paths):
            if isinstance(self._recipe.data, FilesConfig) and contains(self.out, parent):
                raise FolderRefused(
                    f"--out {self.out} contains clips of the data ({parent}): choose another folder"
                )

    def begin(self, *, fresh: bool) -> None:
        """Chooses the folder to write to, and writes the recipe there; with `fresh`, removes all earlier
        results."""
        if fresh:
            self._forget()
        about = self._ledger.about
        identity = str(Key.of({"recipe": self._recipe.to_dict()}))
        run = {"identity": identity, "since": datetime.now().astimezone().isoformat(timespec="seconds")}
        if about["state"] == "new" or (
            about["state"] == "unfinished" and about["run"]["identity"] == identity
        ):
            self._ledger.about = {"state": "unfinished", "run": run}
            self._claim(self._ledger)
        else:
            self.place, self.finished = self.out / UNFINISHED, (self.out,)
            self.place.mkdir(exist_ok=True)
            ledger = Ledger.read(self.place) or Ledger(folder=self.place, kind="run")
            if ledger.about.get("run", run)["identity"] != identity:
                ledger.clear()  # figures and recipe of another run; stages are looked up by key
            ledger.about = {"state": "unfinished", "run": run}
            self._claim(ledger)
        write_atomic(self.place / "recipe.yaml", dump_yaml(self._recipe.to_dict()))

    def finish(self, results: Mapping[str, str]) -> None:
        """Makes the results of this run those of the folder, and removes obsolete results.

        `results` are the keys of its stages and of its export by their folders, such as `stages/01_distill`.
        """
        predictions = Ledger.read(self.place / PREDICTIONS) or Ledger.read(self.out / PREDICTIONS)
        more = {PREDICTIONS: predictions.about["key"]} if predictions else {}
        self._ledger.about["results"] = {**results, **more}
        if self.place != self.out:
            mine = Ledger.read(self.place)
            assert mine is not None
            self._claim(self._ledger)
            self._ledger.about |= {
                "state": "swapping",
                "next": mine.about["run"],
                "dropped": [name for name in ROOT_FILES if not (self.place / name).is_file()],
            }
            self._ledger.save()
            _swap(self.out, self._ledger)
        _settle(self.out, self._ledger)

    def _claim(self, ledger: Ledger) -> None:
        check_names(ledger.folder, ROOT_FILES, ledger=ledger)
        ledger.files = {name: ledger.files.get(name) for name in ROOT_FILES}
        ledger.save()
        ledger.clear(temporary_alone=True)

    def _forget(self) -> None:
        for root in (self.out / UNFINISHED, self.out):
            for folder in _parts(root):
                _remove(folder)
            _remove_if_empty(root / "stages")
        _remove(self.out / UNFINISHED, kinds=["run"])
        self._ledger.clear()
        self._ledger.about = {"state": "new"}
        self._ledger.save()


@contextmanager
def opened(out: Path, recipe: Recipe, *, console: Console) -> Iterator[RunFolder]:
    """Creates and locks the folder of a run.

    Raises `FolderRefused` if another run has locked it. Completes an interrupted swap first.
    """

    def notify(sentence: str) -> None:
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    with held(out):
        ledger = Ledger.read(out)
        if ledger is None:
            _refuse_foreign(out)
            ledger = Ledger(folder=out, kind="run", about={"state": "new"})
            ledger.save()
        if ledger.damage:
            notify(f"{ledger.damage}; its copy is intact and is used instead")
            ledger.save()
        if ledger.about["state"] == "swapping":
            notify(
                f"{out}: an earlier run was stopped while its results were swapped in; this is now complete"
            )
            _swap(out, ledger)
            _settle(out, ledger)
        _check_places(out, recipe)
        for name, expected in ledger.files.items():
            path = out / name
            if expected and path.is_file() and not path.is_symlink() and fingerprint(path) != expected:
                notify(f"{path} was changed after it was written")
        yield RunFolder(out, recipe, ledger)


def _swap(out: Path, ledger: Ledger) -> None:
    """Moves the content of `unfinished/` into place; after a kill, another call completes it."""
    place = out / UNFINISHED
    if place.is_dir():
        for name, key in ledger.about["results"].items():
            made = Ledger.read(place / name)
            if made is not None and made.about.get("key") == key and not made.writing:
                publish(place / name, out / name)
        for name in ledger.about["dropped"]:
            (out / name).unlink(missing_ok=True)
        for name in ROOT_FILES:
            if (place / name).is_file() and not (place / name).is_symlink():
                (place / name).replace(out / name)
        for folder in _parts(place):
            _remove(folder)
        _remove_if_empty(place / "stages")
        _remove(place, kinds=["run"])
    ledger.about["run"] = ledger.about["next"]


def _settle(out: Path, ledger: Ledger) -> None:
    """Removes results that do not belong to the finished run, and stores the fingerprints of its files."""
    for folder in _parts(out):
        if folder.relative_to(out).as_posix() not in ledger.about["results"]:
            _remove(folder)
    ledger.clear(temporary_alone=True)
    there = [name for name in ROOT_FILES if name in ledger.files and (out / name).is_file()]
    ledger.files = {name: fingerprint(out / name) for name in there}
    ledger.about = {"state": "finished", "run": ledger.about["run"]}
    ledger.save()


def _parts(root: Path) -> Iterator[Path]:
    """Folders of results: stages, also unfinished ones, the export, and the predictions of its files."""
    stages = root / "stages"
    if stages.is_dir() and not stages.is_symlink():
        yield from (path for path in sorted(stages.iterdir()) if path.is_dir() and not path.is_symlink())
    for name in ("export", PREDICTIONS, f"{PREDICTIONS}.partial"):
        if (root / name).is_dir() and not (root / name).is_symlink():
            yield root / name


def _remove(folder: Path, *, kinds: Sequence[str] = ("result", "export")) -> None:
    """Removes Pocketreel's files from a folder, and the folder if it is empty."""
    ledger = Ledger.read(folder)
    if ledger is not None and ledger.kind in kinds:
        ledger.remove()
    _remove_if_empty(folder)  # left by a kill after the ledger was removed


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # missing or not empty
        folder.rmdir()
