"""Which processors have VNNI, from the files of Linux."""

import pytest

from compress.command.processor import lacks_vnni

EPYC = "fpu sse4_1 avx2 avx512f avx512_vnni avx512_bitalg"
CORE = "fpu sse4_1 avx2 avx_vnni"
HASWELL = "fpu sse4_1 avx2"


@pytest.mark.parametrize(("flags", "lacks"), [(EPYC, False), (CORE, False), (HASWELL, True)])
def test_the_flags_of_an_x86_processor(tmp_path, flags, lacks):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(
        f"processor\t: 0\nmodel name\t: with avx512_vnni in its name\nflags\t\t: {flags}\nbugs\t\t: spectre_v2\n"
    )
    assert lacks_vnni(root=tmp_path, machine="x86_64") == lacks


def test_without_a_list_of_flags_an_x86_processor_counts_as_one_without(tmp_path):
    assert lacks_vnni(root=tmp_path, machine="AMD64")


@pytest.mark.parametrize("machine", ["aarch64", "arm64"])
def test_arm_has_exact_products(tmp_path, machine):
    assert not lacks_vnni(root=tmp_path, machine=machine)
