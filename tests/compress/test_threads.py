"""The number of torch threads is part of a stage: another number changes the rounding of sums."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from compress.report.assemble import _threads_differ
from compress.report.page import _threads
from compress.steps.train import _threads_of


@pytest.fixture
def run():
    said = []
    before = torch.get_num_threads()
    yield SimpleNamespace(said=said, notify=said.append)
    torch.set_num_threads(before)


def test_a_stage_goes_on_with_the_threads_it_began_with(tmp_path, run):
    torch.set_num_threads(1)
    with _threads_of(tmp_path, run, "teacher"):
        assert torch.get_num_threads() == 1
    torch.set_num_threads(2)
    with _threads_of(tmp_path, run, "teacher"):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    (sentence,) = run.said
    assert sentence.startswith("teacher: resumes with its original number of torch threads, 1 (now 2)")


def test_a_damaged_note_of_the_threads_is_said(tmp_path, run):
    (tmp_path / "threads").write_text("4")
    with _threads_of(tmp_path, run, "teacher"):
        pass
    assert "threads is damaged" in run.said[0]
    with _threads_of(tmp_path, run, "teacher"):
        assert len(run.said) == 1


def test_the_report_says_the_threads_of_stages_and_where_they_differ():
    def outcome(path, threads):
        return SimpleNamespace(path=path, record={"threads": threads})

    assert _threads_differ([outcome("teacher", 2), outcome("stages.0.distill", 2)]) == []
    (note,) = _threads_differ([outcome("teacher", 4), outcome("stages.0.distill", 2)])
    assert "different numbers of threads (teacher with 4, stages.0.distill with 2)" in note
    assert (_threads(1), _threads(4), _threads(None)) == (" on 1 thread", " on 4 threads", "")
