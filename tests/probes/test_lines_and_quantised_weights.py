from __future__ import annotations

import pytest
import torch

from pretune.config.probing import Probe
from pretune.config.science import Task
from pretune.data.examples import Example
from pretune.errors import UsageError
from pretune.probes.interpolate import probe_interpolate
from pretune.probes.meters import TextMeter
from pretune.probes.quantize import check_device, probe_quantize, quantise, round_to_nearest
from pretune.probes.subject import Subject
from support.models import SENTENCES, make_model, make_tokenizer

TASK = Task(name="text", family="text", answer="language")
TEXTS = [Example(id=str(index), target=text) for index, text in enumerate(SENTENCES[:8])]


def make_subject(model, probe, **more):
    tokenizer = make_tokenizer("word")
    meters = [TextMeter(model, tokenizer, TASK, TEXTS)]
    return Subject(model=model, tokenizer=tokenizer, meters=meters, examples=[TEXTS], probe=probe, **more)


def values(findings, metric, key="magnitude"):
    return {row[key]: row["value"] for row in findings.rows if row["metric"] == metric}


def test_ends_of_the_line_are_the_base_and_the_tuned_model():
    base, tuned = make_model(seed=0), make_model(seed=1)
    before = {name: value.clone() for name, value in tuned.state_dict().items()}
    subject = make_subject(tuned, Probe(name="interpolate", alphas=(0.0, 0.5, 1.0, 1.5)), base=base.state_dict())
    losses = values(probe_interpolate(subject), "loss")
    assert losses[0.0] == subject.meters[0].read(base).value
    assert losses[1.0] == subject.meters[0].read(tuned).value
    assert len(set(losses.values())) == 4
    assert all(torch.equal(value, before[name]) for name, value in tuned.state_dict().items())
    middle = make_model(seed=0)
    with torch.no_grad():
        for one, two in zip(middle.parameters(), tuned.parameters(), strict=True):
            one.copy_((one + two) / 2)
    assert losses[0.5] == pytest.approx(subject.meters[0].read(middle).value, rel=1e-6)


def test_a_base_model_has_no_line():
    with pytest.raises(UsageError, match="needs run=RUN_ID"):
        probe_interpolate(make_subject(make_model(), Probe(name="interpolate")))


def test_nf4_and_int8_are_the_errors_of_bitsandbytes_own_layers():
    import bitsandbytes as bnb

    torch.manual_seed(0)
    matrix = torch.randn(48, 64)
    layer = bnb.nn.Linear4bit(64, 48, bias=False, quant_type="nf4", compute_dtype=torch.float32)
    layer.weight = bnb.nn.Params4bit(matrix.clone(), requires_grad=False, quant_type="nf4", compress_statistics=False)
    layer.to("cpu")
    own = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    assert torch.equal(quantise(matrix, "nf4", group_size=64), own)
    eight = bnb.nn.Int8Params(matrix.half(), requires_grad=False, has_fp16_weights=False)
    codes, scales, _ = bnb.functional.int8_vectorwise_quant(eight.data)
    assert torch.allclose(quantise(matrix, "int8", group_size=64), codes * scales[:, None] / 127, atol=1e-6)


@pytest.mark.parametrize(("bits", "group"), [(3, 8), (4, 16), (8, 7)])
def test_rounding_to_nearest_keeps_the_ends_of_a_group_and_errs_by_half_a_step_at_most(bits, group):
    matrix = torch.randn(5, 20, generator=torch.Generator().manual_seed(0))
    rounded = round_to_nearest(matrix, bits=bits, group_size=group)
    for before, after in zip(torch.split(matrix, group, 1), torch.split(rounded, group, 1), strict=True):
        spread = before.amax(1) - before.amin(1)
        assert ((after - before).abs().amax(1) <= spread / (2**bits - 1) / 2 * 1.001).all()
        assert torch.allclose(after.amax(1), before.amax(1), atol=1e-6)
        assert all(len(row.unique()) <= 2**bits for row in after)
    flat = torch.full((2, 4), 3.0)
    assert torch.equal(round_to_nearest(flat, bits=3, group_size=4), flat)


def test_fewer_bits_lose_more_and_the_weights_come_back():
    model = make_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    probe = Probe(name="quantize", tensors=("attention", "mlp"), kinds=("nf4", "int8", "rtn3", "rtn4", "rtn8"))
    found = probe_quantize(make_subject(model, probe))
    error = values(found, "weight_error", "probe_variant")
    assert error["rtn8"] < error["rtn4"] < error["rtn3"]
    assert error["int8"] < error["nf4"]
    assert set(values(found, "loss_increase", "probe_variant")) == set(error)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_devices_and_tensors_that_cannot_be_quantised_are_refused():
    with pytest.raises(UsageError, match="bitsandbytes does not work on mps; valid: rtn3"):
        check_device(torch.device("mps"), ("nf4", "rtn3"))
    check_device(torch.device("mps"), ("rtn3",))
    with pytest.raises(UsageError, match="there is no matrix to quantise"):
        probe_quantize(make_subject(make_model("llama"), Probe(name="quantize", tensors=("norms",))))
