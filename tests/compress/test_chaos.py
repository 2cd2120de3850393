"""A run that is killed, interrupted, short of disk, locked out and damaged at random ends as if undisturbed.

Two moments by default; `POCKETREEL_CHAOS=30` asks for as many as a release is tried with, `POCKETREEL_CHAOS_SEED`
for others. What a moment is follows from the seed; how far a run has come by then, from the machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from compress.folders.ledger import COPY, entries

pytestmark = [pytest.mark.slow, pytest.mark.timeout(5400)]

ROOT = Path(__file__).resolve().parents[2]
MOMENTS = int(os.environ.get("POCKETREEL_CHAOS", "2"))
SEED = int(os.environ.get("POCKETREEL_CHAOS_SEED", "0"))
SETTINGS = (
    "export.formats=[onnx]",
    "export.schemes=[w8a8]",
    "stages=[{distill: {epochs: 2, batch: 8}}, {quantize: {calibration_clips: 8, batch: 8}}]",
    "gates=[]",
)
FOREIGN = (
    *("mine.txt", "stages/mine.txt", "stages/01_distill/mine.txt", "stages/01_distill.partial/mine.txt"),
    *("export/notes.md", "export/onnx/notes.md", "unfinished/mine.txt"),
)
HOLD = (
    "import sys, pathlib; from compress.folders import locks\n"
    "place = pathlib.Path(sys.argv[2])\n"
    "lock = locks.held(place) if sys.argv[1] == 'out' else locks.one_at_a_time(place, waiting=print)\n"
    "with lock:\n"
    "    print('inside', flush=True); sys.stdin.read()"
)
SIZE_MB = 48


class Place:
    """One output folder and its cache, on a disk that can be filled."""

    def __init__(self, folder: Path) -> None:
        self.disk = folder
        self.out, self.cache = folder / "out", folder / "cache"

    def start(self, *more: str, limit_bytes: int | None = None) -> subprocess.Popen[str]:
        settings = [part for setting in SETTINGS for part in ("--set", setting)]
        command = [
            sys.executable,
            "-m",
            "compress.run",
            str(ROOT / "tests" / "recipes" / "tiny.yaml"),
            *settings,
        ]
        limits = (limit_bytes, resource.RLIM_INFINITY)
        return subprocess.Popen(
            [*command, "--out", str(self.out), "--cache", str(self.cache), *more],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=None
            if limit_bytes is None
            else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
        )

    def hashes(self) -> dict[str, str]:
        """Of all results of the recipe: weights, predictions, and the exported network without its labels."""
        import onnx

        report = json.loads((self.out / "report.json").read_text())
        found = {stage["path"]: stage["weights_sha256"] for stage in report["stages"]}
        for path in sorted(self.out.glob("stages/*/test_logits.safetensors")):
            found[path.parent.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        network = onnx.load(self.out / "export" / "onnx" / "w8a8" / "model.onnx")
        del network.metadata_props[:]  # where the clips lie, which has a part in keys
        found["onnx"] = hashlib.sha256(network.SerializeToString(deterministic=True)).hexdigest()
        return found


@contextmanager
def small_disk(folder: Path):
    """Whether `folder` is now a small disk of its own, which takes the rights to mount one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def ended(process: subprocess.Popen[str], *, within_s: float = 900) -> tuple[int, str]:
    said, _ = process.communicate(timeout=within_s)
    return process.returncode, said


def kill_all(process: subprocess.Popen[str]) -> None:
    """The whole of a run at once, as a machine that loses power ends it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


class Chaos:
    """Moments, drawn from a seed."""

    def __init__(self, place: Place, *, seed: int, full_s: float, mounted: bool) -> None:
        self.place, self.random, self.full_s, self.mounted = place, random.Random(seed), full_s, mounted
        self.codes: list[tuple[str, int]] = []

    def wait(self, process: subprocess.Popen[str]) -> None:
        until = time.monotonic() + self.random.uniform(0, self.full_s)
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)

    def kill(self) -> None:
        process = self.place.start(*(["--fresh"] if self.random.random() < 0.3 else []))
        self.wait(process)
        kill_all(process)

    def kill_the_first_process_alone(self) -> None:
        process = self.place.start()
        self.wait(process)
        process.kill()
        process.communicate()

    def interrupt(self) -> None:
        process = self.place.start()
        self.wait(process)
        process.send_signal(signal.SIGINT)
        code, said = ended(process, within_s=60)
        self.note("interrupt", code, said, allowed=(0, 130))

    def fill_the_disk(self) -> None:
        if not self.mounted:
            process = self.place.start(limit_bytes=self.random.randrange(1_000, 200_000))
            code, said = ended(process)
            return self.note("limit", code, said, allowed=(0, 2, 3))
        process = self.place.start()
        self.wait(process)
        filler = self.place.disk / "filler"
        with filler.open("wb") as file:
            try:
                while True:
                    file.write(bytes(2**16))
                    file.flush()
            except OSError:
                pass
        os.truncate(filler, max(0, filler.stat().st_size - self.random.choice((0, 1 << 12, 1 << 16))))
        code, said = ended(process)
        filler.unlink()
        return self.note("full", code, said, allowed=(0, 3))

    def flip(self) -> None:
        """A byte of any file of ours; a list of files and its copy are never both damaged."""
        found = []
        for root in (self.place.out, self.place.cache):
            names = [name for name in entries(root) if Path(name).name not in ("mine.txt", "notes.md", COPY)]
            found += [root / name for name in names if (root / name).stat().st_size and "lock" not in name]
        if not found:
            return
        path = self.random.choice(found)
        content = bytearray(path.read_bytes())
        content[self.random.randrange(len(content))] ^= 1 << self.random.randrange(8)
        path.write_bytes(content)
        self.codes.append((f"flip {path.relative_to(self.place.disk)}", 0))

    def hold(self) -> None:
        """Another process has the folder, and is killed; then it has a part of the cache, and is killed."""
        with self.holder("out", self.place.out) as other:
            code, said = ended(self.place.start())
            assert code == 2 and f"is in use by process {other.pid} on " in said, said
        parts = [path for path in (self.place.cache / "decoded").glob("*-*") if path.suffix != ".partial"]
        if parts:
            with self.holder("cache", self.random.choice(parts)):
                process = self.place.start()
                self.wait(process)
            kill_all(process)

    @contextmanager
    def holder(self, kind: str, place: Path):
        command = [sys.executable, "-c", HOLD, kind, str(place)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as other:
            assert other.stdout.readline() == "inside\n"
            yield other
            other.kill()

    def note(self, what: str, code: int, said: str, *, allowed: tuple[int, ...]) -> None:
        self.codes.append((what, code))
        assert code in allowed and "Traceback" not in said, f"{what}: {code}\n{said}"


def test_a_run_disturbed_at_random_moments_ends_as_an_undisturbed_one(tmp_path):
    undisturbed = Place(tmp_path / "undisturbed")
    began = time.monotonic()
    code, said = ended(undisturbed.start())
    assert code == 0, said
    full_s = time.monotonic() - began
    with small_disk(tmp_path / "disk") as mounted:
        place = Place(tmp_path / "disk")
        chaos = Chaos(place, seed=SEED, full_s=full_s, mounted=mounted)
        chaos.kill()
        for name in FOREIGN:
            (place.out / name).parent.mkdir(parents=True, exist_ok=True)
            (place.out / name).write_text(f"mine, {name}")
        events = [chaos.kill, chaos.interrupt, chaos.fill_the_disk, chaos.flip, chaos.hold]
        events.append(chaos.kill_the_first_process_alone)
        for number in range(MOMENTS - 1):
            # Every kind in turn, in an order of its own each time.
            if number % len(events) == 0:
                chaos.random.shuffle(events)
            events[number % len(events)]()
            print(number, chaos.codes[-1:], f"{time.monotonic() - began:.0f} s", flush=True)
        code, said = ended(place.start())
        assert code == 0, (said, chaos.codes)
        assert place.hashes() == undisturbed.hashes(), (said, chaos.codes)
        assert {name: (place.out / name).read_text() for name in FOREIGN} == {
            name: f"mine, {name}" for name in FOREIGN
        }
        code, said = ended(place.start())
        assert code == 0 and "computed again" not in said and "damaged" not in said, said
