"""Every command handles --help, an invalid option and an unknown word of a recipe before large imports."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from compress import __version__
from compress.recipe.keys import check_words

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = (
    *(
        "compress.run",
        "compress.diagnose",
        "compress.gate",
        "compress.studies.gates",
        "compress.report",
        "compress.studies.generate_docs",
        "compress.studies.comparison",
        "compress.studies.student_table",
    ),
    *("compress.studies.encoder_table", "compress.studies.cross_modal", "compress.studies.results_page"),
    *("compress.studies.diagnosis", "compress.studies.pruning", "compress.studies.quantization"),
    *("compress.studies.arms", "compress.studies.device_agreement"),
    *("compress.studies.intervals", "compress.studies.same_file", "compress.studies.int4_groups"),
    *("compress.studies.chain", "compress.studies.sparse_files"),
    *("export.run", "export.nncf_onnx"),
    *("benchmarks.run", "benchmarks.classify", "benchmarks.live", "benchmarks.streaming"),
    "benchmarks.browser.install",
)
LARGE = ("torch", "av", "safetensors", "jinja2", "scipy")
TINY = ROOT / "tests" / "recipes" / "tiny.yaml"


def ask(module: str, *arguments: str) -> tuple[int, str, str]:
    """Exit code, what was printed, and which large libraries the process imported."""
    script = (
        f"import runpy, sys\nsys.argv = ['x', *{arguments!r}]\ntry:\n"
        f"    runpy.run_module({module!r}, run_name='__main__', alter_sys=True)\n"
        f"except SystemExit as end:\n    print('LARGE', [n for n in {LARGE!r} if n in sys.modules])\n    raise\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
    )
    said, _, large = (done.stdout + done.stderr).partition("LARGE ")
    large, _, more = large.partition("\n")
    return done.returncode, said + more, large


def test_these_are_all_commands():
    found = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        for package in ("compress", "export", "benchmarks", "models")
        for path in (ROOT / package).rglob("*.py")
        if "run_command(" in (text := path.read_text()) and '__name__ == "__main__"' in text
    }
    assert found - {"compress.command.guard"} == set(COMMANDS)


@pytest.mark.parametrize("module", COMMANDS)
def test_help_imports_nothing_large(module):
    code, said, large = ask(module, "--help")
    assert code == 0, said
    assert large == "[]"
    assert {"--help", "--version"} <= set(re.findall(r"^│ [* ]*(--[a-z-]+)", said, flags=re.MULTILINE))
    assert "<bool>" not in said and " range>" not in said


@pytest.mark.parametrize("module", COMMANDS)
def test_every_command_says_its_version(module):
    code, said, large = ask(module, "--version")
    assert (code, said.strip(), large) == (0, f"pocketreel {__version__}", "[]")


@pytest.mark.parametrize("module", COMMANDS)
def test_a_wrong_option_is_refused_before_anything_large_is_imported(module):
    code, said, large = ask(module, "--hepl")
    assert code == 2, said
    assert "No such option: --hepl" in said and "--help" in said
    assert large == "[]"


@pytest.mark.parametrize("module", ["compress.run", "compress.studies.cross_modal"])
def test_a_wrong_key_is_refused_before_anything_large_is_imported(module):
    code, said, large = ask(module, str(TINY), "--set", "stages.0.distill.epoch=3")
    assert code == 2, said
    assert "stages.0.distill.epoch: unknown key" in said and "did you mean 'epochs'?" in said
    assert large == "[]"


@pytest.mark.parametrize(
    "setting, said",
    [
        ("sed=1", r"sed: unknown section; .*'seed'"),
        ("data.source=synthetik", r"data\.source: unknown source; given: 'synthetik'; .*'synthetic'"),
        (
            "student.network=mobilenet3",
            r"student\.network: unknown network; given: 'mobilenet3'; .*'mobilenet3d'",
        ),
        ("student.options.widht=1", r"student\.options\.widht: unknown key; .*'width'"),
        ("clip.audio={melz: 4}", r"clip\.audio\.melz: unknown key; .*'mels'"),
        ("stages.1={prun: {}}", r"stages\.1\.prun: unknown stage; .*'prune'"),
        ("gates.0.metrik=1", r"gates\.0\.metrik: unknown key; .*'metric'"),
        ("student.network=[1]", r"student\.network: unknown network; given: \[1\]"),
    ],
)
def test_words_that_no_recipe_has(setting, said):
    with pytest.raises(ValueError, match=said):
        check_words(TINY, [setting])


@pytest.mark.parametrize(
    "path", [*sorted((ROOT / "recipes").glob("*.yaml")), TINY], ids=lambda path: path.stem
)
def test_words_of_our_recipes_are_known(path):
    check_words(path)


@pytest.mark.parametrize(
    "setting", ["student.network=3", "stages=3", "data=[]", "teacher=null", "stages=[null]"]
)
def test_wrong_types_are_left_to_the_full_check_or_refused(setting):
    try:
        check_words(TINY, [setting])
    except ValueError as error:
        assert "unknown" in str(error)
