from pathlib import Path

import torch
from torch import nn

from export.capture.graph import capture
from export.verify.coverage.places import place_of, places_of

TRACE = """File "{file}", line 12, in forward
    y = self.lstm(x)
"""


def test_a_place_is_relative_to_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        place_of(TRACE.format(file=Path.cwd() / "nets" / "mine.py")) == "nets/mine.py:12 `y = self.lstm(x)`"
    )


def test_a_place_outside_of_it_does_not_reveal_the_machine(tmp_path):
    assert place_of(TRACE.format(file=tmp_path / "mine.py")) == "mine.py:12 `y = self.lstm(x)`"


def test_neither_generated_code_nor_torch_itself_is_a_place():
    assert (
        place_of(TRACE.format(file=Path(torch.__file__).parent / "nn" / "modules" / "container.py")) is None
    )
    assert place_of(None) is None
    assert place_of(TRACE.format(file="<eval_with_key>.134")) is None


class Net(nn.Module):
    def forward(self, x):
        y = x.exp()
        return y * 2


def test_what_a_pass_has_added_takes_the_place_of_its_input():
    graph = capture(Net(), (torch.ones(2),)).graph
    product = next(node for node in graph.nodes if node.op == "output").args[0][0]
    del product.meta["stack_trace"]
    places = places_of(graph)
    assert places[product.name] == places["exp"]
    assert places["exp"].startswith("tests/export/verify/coverage/test_places.py:")
    assert places["exp"].endswith("`y = x.exp()`")
    assert "x" not in places
