"""A folder full of other people's files, a copy of the checkout, and commands that run among them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from tests.benchmarks.clips.films import film
from tests.benchmarks.small_exports import onnx_export
from tests.benchmarks.small_streams import streaming_export
from tests.fuzz.warm import LIMIT_BYTES, LIMIT_S

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    "benchmarks.classify",
    "benchmarks.live",
    "benchmarks.run",
    "benchmarks.streaming",
    "compress.studies.comparison",
    "compress.studies.cross_modal",
    "compress.studies.encoder_table",
    "compress.studies.generate_docs",
    "compress.studies.results_page",
    "compress.run",
    "compress.studies.student_table",
    "export.nncf_onnx",
    "export.run",
)
_CODES = (0, 1, 2, 3)
"""Nobody stops these commands (130), and 70 is an error that nobody foresaw: a fault of ours."""

NETWORKS = '''
"""Networks of a user's, and what is none."""
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, classes=4):
        super().__init__()
        self.layer = nn.Linear(3, classes)

    def forward(self, clip):
        return self.layer(clip.mean((2, 3, 4)))


class Picky(nn.Module):
    def __init__(self, classes):
        super().__init__()


class Silent(nn.Module):
    def forward(self, clip):
        return None


class Words(nn.Module):
    def forward(self, clip):
        return "left"


class Raises(nn.Module):
    def forward(self, clip):
        raise OSError(2, "No such file or directory", "[/secret]")


class Leaves(nn.Module):
    def forward(self, clip):
        raise SystemExit("so long")


class Infinite(Net):
    def forward(self, clip):
        return super().forward(clip) / 0


class Odd(Net):
    def __getattr__(self, name):
        if name == "step":
            raise KeyError("[bold]")
        return super().__getattr__(name)


def nothing():
    return None


def raises():
    raise RuntimeError("[/x] out of memory\\nzeile zwei")


def leaves():
    raise SystemExit(0)


def stops():
    raise KeyboardInterrupt


def keys():
    return {}["ключ"]


def deep():
    return deep()


one = 1
net = Net()
'''
REFERENCES = (
    *(
        "net.py:Net",
        "net:Net",
        "net.py:net",
        "net.py:Picky",
        "net.py:Silent",
        "net.py:Words",
        "net.py:Raises",
    ),
    *("net.py:Leaves", "net.py:Infinite", "net.py:Odd", "net.py:nothing", "net.py:raises", "net.py:leaves"),
    *("net.py:stops", "net.py:keys", "net.py:deep", "net.py:one", "net.py:missing", "net.py:", ":Net", ":"),
    *("net", "net.py", "syntax.py:Net", "raising.py:Net", "leaving.py:Net", "folder.py:Net", "loop.py:Net"),
    *(
        "notes.txt:Net",
        "naïve [x].py:Net",
        "pipe.py:Net",
        "/dev/zero:Net",
        "..:Net",
        ".net:Net",
        "torch.nn:Net",
    ),
    *("torch.nn:Identity", "torch.nn:ReLU", "json:loads", "os:getcwd", "net.py:Net.forward", "empty.py:Net"),
    *("package.inner:Net", "package:inner", "models:STUDENTS", "compress.run:main", "no_such.package:Net"),
    *(
        "binary.py:Net",
        "nul.py:Net",
        "net.py:__name__",
        "net.py:torch",
        "\udce9.py:Net",
        "a" * 300 + ".py:Net",
    ),
)
HEAD = "# Page\n\n<!-- generated: {name} -->\nold\n<!-- end -->\n"
_MODULES = {
    "syntax.py": "def Net(:\n",
    "raising.py": "raise OSError(28, 'No space left on device')\n",
    "leaving.py": "import sys\nsys.exit(0)\n",
    "loop.py": "import loop\nfrom loop import Net\n",
    "naïve [x].py": NETWORKS,
    "empty.py": "",
    "nul.py": "Net = 1\0\n",
}


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended, and what it printed."""

    arguments: tuple[str, ...]
    code: int
    seconds: float
    peak_bytes: int
    fault: str | None
    printed: str

    def check(self, codes: Sequence[int] = _CODES) -> None:
        """Fails the test where the command did what no command does."""
        told = f"{self.arguments}\ncode {self.code}, {self.seconds:.1f} s, {self.peak_bytes / 1e9:.2f} GB\n"
        told += self.printed[-6_000:]
        assert self.fault is None, f"{self.fault}\n{told}"
        assert self.seconds < LIMIT_S and self.peak_bytes < LIMIT_BYTES, told
        assert "Traceback (most recent call last)" not in self.printed, told
        assert self.code in codes, told
        assert self.code in (0, 1) or "error: " in self.printed or ": " in self.printed, told


class Surroundings:
    """`base/work`, where commands run, and the files next to it."""

    def __init__(self, base: Path) -> None:
        self.base, self.work, self.checkout = base, base / "folder of [others]" / "work", base / "checkout"
        self.temporary, self.number = base / "temporary", 0
        _copy_checkout(self.checkout)
        self._pattern = base / "pattern"
        fill(self._pattern)
        self._sources = _snapshot(self.checkout, content=False)
        self._renew()
        self._warm = self._start()

    def close(self) -> None:
        """Ends the process that is warm."""
        assert self._warm.stdin is not None
        self._warm.stdin.close()
        self._warm.wait(20)

    def files(self, under: str = "") -> list[str]:
        """Everything in the folder of the work."""
        return sorted(path.relative_to(self.work).as_posix() for path in (self.work / under).rglob("*"))

    def run(self, module: str, arguments: Iterable[str]) -> Ended:
        """The command in a process forked off one that has imported everything."""
        given = tuple(_as_argument(one) for one in arguments)
        printed = self.base / "printed"
        case = {
            "module": module,
            "arguments": given,
            "folder": str(self.work),
            "printed": str(printed),
            "environment": self._environment(),
        }
        assert self._warm.stdin is not None and self._warm.stdout is not None
        self._warm.stdin.write(json.dumps(case) + "\n")
        self._warm.stdin.flush()
        answer = json.loads(self._warm.stdout.readline())
        said = printed.read_text(encoding="utf-8", errors="backslashreplace") + self._tracebacks()
        return Ended(arguments=(module, *given), printed=said, **answer)

    def run_anew(self, module: str, arguments: Iterable[str]) -> Ended:
        """The command as a user starts it."""
        given = tuple(_as_argument(one) for one in arguments)
        begin_s = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", module, *given],
            env={**os.environ, **self._environment()},
            cwd=self.work,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=2 * LIMIT_S,
            check=False,
        )
        said = done.stdout.decode("utf-8", errors="backslashreplace") + self._tracebacks()
        return Ended(
            arguments=(module, *given),
            code=done.returncode,
            seconds=time.monotonic() - begin_s,
            peak_bytes=0,
            fault=None,
            printed=said,
        )

    def check_untouched(self, written: Iterable[str] = (), *, sources: bool = True) -> None:
        """Fails the test where a file that was there is another one, or one is new outside the places `written`."""
        before, after = self._before, _snapshot(self.work.parent)
        changed = sorted(name for name in before if after.get(name) != before[name])
        places = [(self.work / _as_argument(one)).absolute() for one in (*written, "out")]
        new = sorted(name for name in after.keys() - before.keys())
        places += [Path(os.path.realpath(one)) for one in places]
        foreign = [name for name in new if not _within(self.work.parent / name, places)]
        of_sources = _snapshot(self.checkout, content=False) if sources else self._sources
        if changed or new:
            self._renew()
        assert not changed, changed
        assert not foreign, foreign
        assert of_sources == self._sources, of_sources.items() ^ self._sources.items()

    def write(self, name: str, data: bytes) -> None:
        """Puts a file of this case in place."""
        (self.work / name).write_bytes(data)
        self._before[f"work/{name}"] = _state(self.work / name)

    def restore(self, *names: str) -> None:
        """Makes folders of the work whole again that cases have damaged."""
        for name in names:
            for path in (self._pattern / name).rglob("*"):
                inner = path.relative_to(self._pattern).as_posix()
                if path.is_file() and (content := path.read_bytes()) != (self.work / inner).read_bytes():
                    self.write(inner, content)

    def restore_checkout(self) -> None:
        """Makes the pages of the checkout what they were, which a command may have written."""
        if _snapshot(self.checkout, content=False) != self._sources:
            for name in ("README.md", "docs/results.md", "benchmarks/results/main_job.json"):
                shutil.copy2(ROOT / name, self.checkout / name)

    def renew(self) -> None:
        """Makes all files of the work anew."""
        self._renew()

    def _renew(self) -> None:
        shutil.rmtree(self.work.parent, ignore_errors=True)
        shutil.copytree(self._pattern, self.work, symlinks=True)
        for name in ("pipe", "pipe.py", "pipe.npy", "pipe.csv", "pipe.mp4"):
            os.mkfifo(self.work / name)
        (self.work.parent / "notes").write_text("notes of others\n")
        self._before = _snapshot(self.work.parent)

    def _environment(self) -> dict[str, str]:
        self.temporary.mkdir(exist_ok=True)
        return {
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "200",
            "PYTHONPATH": str(self.checkout),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(self.temporary),
        }

    def _tracebacks(self) -> str:
        """What commands have written about errors that were not foreseen, which is taken away."""
        told = ""
        for path in sorted(self.temporary.glob("pocketreel.traceback-*")):
            told += "\n" + path.read_text(encoding="utf-8", errors="backslashreplace")
            path.unlink()
        return told.replace("Traceback (most recent call last)", "TRACEBACK")

    def _start(self) -> subprocess.Popen[str]:
        warm = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.warm", *COMMANDS],
            env={**os.environ, **self._environment()},
            cwd=self.checkout,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert warm.stdout is not None
        assert json.loads(warm.stdout.readline()) == {"ready": str(self.checkout)}
        return warm


def _copy_checkout(place: Path) -> None:
    """What the commands are imported from, so that what they may write there is seen and does no harm."""
    for name in ("benchmarks", "compress", "docs", "export", "models", "recipes", "tests"):
        shutil.copytree(ROOT / name, place / name)
    shutil.copy2(ROOT / "README.md", place / "README.md")


def fill(work: Path) -> None:
    """Good files of every kind, hostile ones, and files that are nobody's business."""
    for folder in (
        "folder",
        "folder [bold]/inner",
        "closed",
        "empty",
        "package",
        "folder.py",
        "clips",
        "café\nneu",
    ):
        (work / folder).mkdir(parents=True)
    files: dict[str, bytes] = {
        "notes.txt": b"do not touch\n",
        "folder/notes.txt": b"do not touch\n",
        "folder/manifest.json": b"{}",
        "folder/report.json": b"[]",
        "folder [bold]/inner/[x].txt": b"do not touch\n",
        "café\nneu/日本.txt": b"do not touch\n",
        "closed/model.onnx": b"do not touch\n",
        "empty.json": b"",
        "list.json": b"[]",
        "null.json": b"null",
        "deep.json": b"[" * 100_000,
        "nan.json": b'{"schema_version": NaN, "files": {}, "recipe": []}',
        "net.py": NETWORKS.encode(),
        "binary.py": bytes(range(128, 256)),
        "package/__init__.py": b"from . import inner\n",
        "package/inner.py": NETWORKS.encode(),
        "tiny.yaml": (ROOT / "tests" / "recipes" / "tiny.yaml").read_bytes(),
        "naïve [x].yaml": (ROOT / "tests" / "recipes" / "tiny.yaml").read_bytes(),
        "list.yaml": b"- 1\n",
        "binary.yaml": bytes(range(256)),
        "weights.safetensors": save({"layer.weight": torch.zeros(4, 3), "layer.bias": torch.zeros(4)}),
        "others.safetensors": save({"layer.weight": torch.zeros(5, 3)}),
        "clips.csv": b"path,split,move\nclip.mp4,test,left\n",
        "none.csv": b"path,split,move\nnowhere.mp4,test,left\n",
        "header.csv": b"path,split,move\n",
        "clips/[x].mp4": b"no video",
        **{name: text.encode() for name, text in _MODULES.items()},
        **{f"{name}.md": HEAD.format(name=name).encode() for name in ("exports", "encoders", "cross_modal")},
        "m" * 250: b"do not touch\n",
    }
    for name, content in files.items():
        (work / name).write_bytes(content)
    film(work / "clip.mp4", frames=6, width=32, height=32)
    generator = np.random.default_rng(0)
    np.save(work / "inputs.npy", generator.random((2, 3, 2, 8, 8), np.float32))
    np.savez(work / "inputs.npz", clip=generator.random((2, 3, 2, 8, 8), np.float32))
    np.save(work / "words.npy", np.array(["a", "b"]))
    torch.save({"layer.weight": torch.zeros(4, 3), "layer.bias": torch.zeros(4)}, work / "weights.pt")
    onnx_export(work / "export")
    streaming_export(work / "stream")
    for name, target in {
        "link": "folder",
        "link to a file": "notes.txt",
        "dangling": "nowhere",
        "loop": "loop",
        "link.json": "list.json",
        "link.csv": "clips.csv",
        "null": "/dev/null",
    }.items():
        (work / name).symlink_to(target)


def _snapshot(root: Path, *, content: bool = True) -> dict[str, Any]:
    """What every file below a folder is."""
    found: dict[str, Any] = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in (*folders, *names):
            path = Path(folder) / name
            found[path.relative_to(root).as_posix()] = _state(path) if content else _dates(path)
    return found


def _state(path: Path) -> Any:
    if path.is_symlink():
        return f"to {path.readlink()}"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else path.stat().st_mode


def _dates(path: Path) -> Any:
    status = path.stat()
    return None if path.is_dir() else (status.st_size, status.st_mtime_ns)


def _within(path: Path, places: Sequence[Path]) -> bool:
    """Whether a path is one of the places, inside one, a link to one, or the lock of one."""
    for place in places:
        whole = Path(os.path.normpath(place))
        if path == whole or whole in path.parents or path in whole.parents:
            return True
        if path.parent == whole.parent and path.name.startswith(f".pocketreel.{whole.name}"):
            return True
    return False


def _as_argument(text: str) -> str:
    """What the operating system lets one command give to another: no NUL, and bytes."""
    text = text.replace("\0", "")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text
