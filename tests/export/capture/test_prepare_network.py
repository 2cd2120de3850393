"""Networks in other float types, in wrappers and with unusual attributes, and networks that cannot be exported."""

import re
import threading

import pytest
import torch
from torch import nn

from export.capture.graph import capture
from export.capture.prepare_network import ready
from export.network import check_network, export_network
from tests.export import odd_nets
from tests.export.test_network import command

pytestmark = pytest.mark.slow

SHAPE = "1x3x4x16x16"
CLIP = torch.rand(1, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0))


def readied(make):
    torch.manual_seed(0)
    return ready(make(), (CLIP,))


@pytest.mark.parametrize(
    ("make", "note"),
    [
        (
            odd_nets.doubled,
            r"cast to float32, .*look.weight, look.bias, classify.weight and 1 more of type float64",
        ),
        (odd_nets.brain_floats, r"cast to float32, .* of type bfloat16"),
        (odd_nets.HalfLayer, r"cast to float32, .*: look.weight, look.bias of type float16"),
        (odd_nets.HalfLayer, r"computed in float32.*odd_nets.py:\d+ `return self.look\(clip.half\(\)\)"),
        (odd_nets.Autocast, r"computed in float32.*odd_nets.py:\d+ `with torch.autocast"),
        (odd_nets.DoubleInside, r"computed in float32.*`return super\(\).features\(clip\).double"),
    ],
)
def test_other_number_types_are_computed_in_float32_with_a_note(make, note):
    given = readied(make)
    assert any(re.search(note, one) for one in given.notes), given.notes
    program = capture(given.network, (CLIP,))
    dtypes = {
        value.dtype for node in program.graph.nodes if isinstance(value := node.meta.get("val"), torch.Tensor)
    }
    assert dtypes <= {torch.float32, torch.int64}
    with torch.no_grad():
        answer = program.module()(CLIP)
    torch.manual_seed(0)
    own = make()
    with torch.no_grad():
        wanted = own(CLIP.to(next(own.classify.parameters()).dtype))
    torch.testing.assert_close(answer, wanted.float(), rtol=0.05, atol=0.05)


def test_a_network_that_needs_nothing_is_left_as_it_is():
    for make in (odd_nets.Small, odd_nets.DoubleConstant):
        given = readied(make)
        assert given.notes == () and "forward" not in vars(given.network)


def test_the_users_network_is_not_changed():
    network = odd_nets.doubled().train()
    given = ready(network, (CLIP,))
    assert network.training and network.look.weight.dtype is torch.float64
    assert not given.network.training and given.network.look.weight.dtype is torch.float32


@pytest.mark.parametrize("make", [odd_nets.in_parallel, odd_nets.compiled])
def test_wrappers_for_training_are_removed(make):
    assert type(readied(make).network) is odd_nets.Small


def test_wrapped_parts_are_unwrapped_too():
    network = odd_nets.Small()
    network.look = nn.DataParallel(network.look)
    assert type(ready(network, (CLIP,)).network.look) is nn.Conv3d
    assert type(network.look) is nn.DataParallel


@pytest.mark.parametrize(
    "make",
    [
        odd_nets.Locked,
        odd_nets.TrainReturnsNothing,
        odd_nets.ConversionsReturnNothing,
        odd_nets.Subclass,
        odd_nets.Printing,
        odd_nets.Counting,
        odd_nets.Cached,
    ],
)
def test_prepared_networks_keep_their_outputs(make):
    torch.manual_seed(0)
    own = make()
    own.eval()
    given = ready(own, (CLIP,))
    assert isinstance(given.network, make) and not given.network.training
    with torch.no_grad():
        answer, wanted = capture(given.network, (CLIP,)).module()(CLIP), own(CLIP)
    torch.testing.assert_close(answer, torch.Tensor(wanted))


def test_what_cannot_be_copied_is_shared():
    network = odd_nets.Locked()
    copy = ready(network, (CLIP,)).network
    assert copy.lock is network.lock and isinstance(copy.lock, type(threading.Lock()))
    assert copy.look.weight is not network.look.weight


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            odd_nets.traced,
            r"the network is a TorchScript module \(Small\); give the network as the Python class",
        ),
        (
            odd_nets.Scripted,
            r"module 'look' is a TorchScript module \(Conv3d\); .*leave out torch.jit.script",
        ),
        (odd_nets.quantized, r"module 'classify' is quantized already \(Linear\); .*scheme w8a8"),
        (odd_nets.without_values, r"look.weight of the network is on the meta device .*to_empty"),
        (odd_nets.lazy, r"look.weight of the network has no shape yet \(a Lazy module\)"),
        (odd_nets.Sparse, r"graph of the network is sparse .*to_dense\(\)"),
        (
            odd_nets.Complex,
            r"complex numbers at tests/export/odd_nets.py:\d+ `return torch.fft.rfft.*two tensors",
        ),
        (odd_nets.a_class, r"the network is the class Clips; give an instance of it: Clips\(\)"),
    ],
)
def test_what_no_file_can_be_made_of(make, message):
    with pytest.raises(ValueError, match=message):
        readied(make)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            odd_nets.Packed,
            r"odd_nets.py:\d+ `given, _ = self.remember\(packed\)`: .*pad all sequences to one length",
        ),
        (
            odd_nets.Numbered,
            r"a number out of a tensor at .*odd_nets.py:\d+ `return found \* found.max\(\).item",
        ),
        (odd_nets.Numpy, r"odd_nets.py:\d+ `return torch.from_numpy.*; NumPy is not part of the graph"),
        (
            odd_nets.Training,
            r"BatchNorm at .*odd_nets.py:\d+ .* is in training mode, although eval\(\) was called",
        ),
    ],
)
def test_advice_fits_what_cannot_be_captured(make, message):
    with pytest.raises(NotImplementedError, match=message):
        capture(readied(make).network, (CLIP,))


@pytest.mark.parametrize(
    ("make", "names"), [(odd_nets.Buffer, "what changed: before"), (odd_nets.Listed, "what changed: seen")]
)
def test_a_network_with_memory_is_refused_with_the_changed_attributes(tmp_path, make, names):
    message = rf"the network keeps values between calls: .*{names}\. .*step\(frame, state\).*--stream"
    with pytest.raises(ValueError, match=message):
        export_network(make(), [SHAPE], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match=message):
        check_network(make(), [SHAPE])


@pytest.mark.parametrize(
    ("make", "names"),
    [(odd_nets.Anchored, "what changed: anchor"), (odd_nets.Initialised, "what changed: scale")],
)
def test_a_network_that_caches_values_of_its_first_input_is_refused(tmp_path, make, names):
    message = rf"caches values of its first input: .*{names}\. Compute them in __init__"
    with pytest.raises(ValueError, match=message):
        export_network(make(), [SHAPE], out=tmp_path / "out")
    with pytest.raises(ValueError, match=message):
        check_network(make(), [SHAPE])


@pytest.mark.parametrize("make", [odd_nets.Cached, odd_nets.Counting, odd_nets.DrawnOnce, odd_nets.Locked])
def test_caches_of_sizes_and_of_random_numbers_are_accepted(make):
    assert not [one for one in check_network(make(), [SHAPE]) if one.severity == "refused"]


def test_a_network_that_was_called_before_keeps_its_caches():
    network = odd_nets.Anchored()
    with torch.no_grad():
        network(CLIP)
    assert not [one for one in check_network(network, [SHAPE]) if one.severity == "refused"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            odd_nets.Masked,
            r"index at .*odd_nets.py:\d+ `return super.*self.mask\]` .*mask.nonzero\(\)\[:, 0\]\) in __init__",
        ),
        (odd_nets.MaskedMean, r"index at .*odd_nets.py:\d+ .*\(x \* mask\).sum\(dim\) / mask.sum\(dim\)"),
        (odd_nets.Selected, r"masked_select at .*odd_nets.py:\d+ .*multiply by the mask, or use torch.where"),
        (odd_nets.Found, r"nonzero at .*odd_nets.py:\d+ .*multiply by the mask, or use torch.where"),
        (odd_nets.Unique, r"unique at .*odd_nets.py:\d+ .*compute it outside of the network"),
    ],
)
def test_sizes_that_depend_on_values_are_refused_with_their_line(make, message):
    with pytest.raises(NotImplementedError, match=message):
        capture(readied(make).network, (CLIP,))


def test_positions_of_a_fixed_mask_are_exported_as_advised(tmp_path):
    for outcome in export_network(odd_nets.Kept(), [SHAPE], out=tmp_path).outcomes:
        assert outcome.status == "exported", outcome.reason


def test_random_outputs_are_distinguished_from_memory(tmp_path):
    message = (
        r"draws random numbers at tests/export/odd_nets.py:\d+ `return F.dropout.*training=self.training"
    )
    with pytest.raises(ValueError, match=message):
        export_network(odd_nets.Dropping(), [SHAPE], out=tmp_path / "out")


def test_the_command_exits_with_2_for_a_network_with_memory(tmp_path):
    code, printed = command("tests.export.odd_nets:Buffer", "--shape", SHAPE, "--out", tmp_path / "out")
    assert code == 2 and "the network keeps values between calls" in " ".join(printed.split())


def test_a_default_type_that_the_users_module_sets_does_not_matter(tmp_path):
    torch.set_default_dtype(torch.float64)
    try:
        assert not [one for one in check_network(odd_nets.Small(), [SHAPE]) if one.severity == "refused"]
        assert torch.get_default_dtype() is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_networks_that_mix_types_are_refused_with_the_remedy(tmp_path):
    network = odd_nets.Small()
    network.register_forward_pre_hook(lambda _, given: (given[0].long(),))
    with pytest.raises(ValueError, match=r"odd_nets.py:\d+ .*; it mixes types: make all of it float32"):
        export_network(network, [SHAPE], out=tmp_path / "out")


def test_notes_report_casts(tmp_path):
    example = {"clip": CLIP.double()}
    (outcome,) = export_network(odd_nets.HalfLayer(), example, out=tmp_path, formats=["tflite"]).outcomes
    assert outcome.status == "exported", outcome.reason
    assert outcome.parity.against["float"][0].relative_error < 1e-5
    printed = " ".join(outcome.notes)
    for part in ("of type float16", "computed in float32", "input 'clip' was given as float64"):
        assert part in printed
