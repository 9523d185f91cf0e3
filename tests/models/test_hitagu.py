"""The whole network: halves, switches, shapes, maps, and which models see order and time."""

import dataclasses

import pytest
import torch
from networks import woken
from reference_ops import bf16_errors

from hitagu_lib import build_model
from hitagu_lib.config import ModelConfig, load_config, resolve
from hitagu_lib.errors import ClipError, ConfigError
from hitagu_lib.files import project_root
from hitagu_lib.models import FrameFeatures

SMALL = {
    "backbone": {"name": "resnet18", "cut": "layer2"},
    "mde": {"taps": ["layer1", "layer2"], "reduced": 8, "width": 16},
    "stu": {"width": 24},
    "attention": {"sca_kernel": 3, "tsa_width": 16, "tsa_heads": 2},
}


def small(**changes: object) -> ModelConfig:
    return resolve({"model": SMALL | changes}).model


def clips(B: int = 2, T: int = 5, height: int = 48, width: int = 48) -> torch.Tensor:
    return torch.randn(B, T, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("temporal", ["hitagu", "tsn", "tsm", "gru"])
@pytest.mark.parametrize(("B", "T"), [(1, 1), (2, 8), (3, 5)])
def test_a_random_batch_gives_finite_logits_and_gradients_everywhere(temporal: str, B: int, T: int) -> None:
    model = woken(small(temporal=temporal)).train()
    logits = model(clips(B, T))
    assert logits.shape == (B, 5) and logits.isfinite().all()
    logits.logsumexp(1).sum().backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not missing


def unequal_times(B: int, T: int) -> torch.Tensor:
    return torch.rand(B, T, generator=torch.Generator().manual_seed(2)).cumsum(1) * 3


@pytest.mark.parametrize("temporal", ["hitagu", "tsn", "gru"])
@pytest.mark.parametrize(("B", "T"), [(2, 1), (1, 2), (2, 8), (1, 33)])
def test_the_two_halves_are_the_whole(temporal: str, B: int, T: int) -> None:
    model, x, t = woken(small(temporal=temporal)), clips(B, T, 37, 29), unequal_times(B, T)
    features = model.encode_frames(x.flatten(0, 1))
    assert torch.equal(model.temporal_head(features, t)[0], model(x, t))
    steps = torch.arange(float(T)).expand(B, T)
    assert torch.equal(model.temporal_head(features, steps)[0], model(x))


def test_a_frame_is_encoded_alone() -> None:
    model, x = woken(small()), clips(1, 6).flatten(0, 1)
    together = model.encode_frames(x)
    alone = model.encode_frames(x[3:4])
    torch.testing.assert_close(FrameFeatures(together.top[3:4], tuple(r[3:4] for r in together.reduced)), alone)


@pytest.mark.slow
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(("B", "T"), [(2, 1), (1, 2), (2, 8), (1, 33)])
def test_logits_are_the_same_bits_with_and_without_maps(B: int, T: int, bf16: bool) -> None:
    model, x, t = woken(small()), clips(B, T, 37, 29), unequal_times(B, T)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits, maps = model(x, t, return_maps=True)
        assert torch.equal(logits, model(x, t)) and maps.temporal_attention is not None
        assert torch.equal(logits, model(x, t, return_embeddings=True)[0])


def test_the_maps_have_their_shapes_and_mixes_sum_to_one() -> None:
    _, maps = woken(small())(clips(), return_maps=True)
    shapes = {
        field.name: tuple(getattr(maps, field.name).shape)
        for field in dataclasses.fields(maps)
        if field.name != "prefix_logits"
    }
    assert maps.prefix_logits is None, "only a causal network has them"
    assert shapes == {
        "frame_embeddings": (2, 5, 128),
        "clip_embedding": (2, 128),
        "motion_gate": (2, 5, 6, 6),
        "state_mix": (2, 5, 3, 6, 6),
        "channel_gate": (2, 5, 128),
        "spatial_map": (2, 5, 6, 6),
        "temporal_attention": (2, 2, 5, 5),
    }
    torch.testing.assert_close(maps.state_mix.sum(2), torch.ones(2, 5, 6, 6))
    torch.testing.assert_close(maps.temporal_attention.sum(3), torch.ones(2, 2, 5))


def test_channels_that_open_and_channels_that_close_do_not_cancel_in_the_motion_gate_s_map() -> None:
    model, gates = woken(small()), []
    with torch.no_grad():  # each channel's gate has an opposite
        half = model.mde.W_a.weight[: len(model.mde.W_a.weight) // 2]
        model.mde.W_a.weight.copy_(torch.cat([half, -half]))
    model.mde.register_forward_hook(lambda module, inputs, outputs: gates.append(outputs[1]))
    _, maps = model(clips(), return_maps=True)
    (gate,) = gates
    assert gate.mean(1).abs().max() < 1e-6 < 1e-3 < maps.motion_gate.max()
    torch.testing.assert_close(maps.motion_gate.flatten(0, 1), gate.abs().mean(1))


@pytest.mark.parametrize(("temporal", "sees_order"), [("hitagu", True), ("tsn", False), ("tsm", True), ("gru", True)])
def test_who_sees_order(temporal: str, sees_order: bool) -> None:
    model, x = woken(small(temporal=temporal)), clips()
    same = torch.allclose(model(x), model(x.flip(1)), atol=1e-5)
    assert same is not sees_order


def test_times_matter_where_elapsed_time_is_on() -> None:
    x, t = clips(), torch.tensor([[0.0, 1, 2, 3, 4], [0, 1, 2, 3, 4]])
    attention = SMALL["attention"] | {"tsa": False}  # TSA reads the times as well
    aware = woken(small(attention=attention))
    unaware = woken(small(attention=attention, stu=SMALL["stu"] | {"elapsed_time": False}))
    assert not torch.allclose(aware(x, t), aware(x, 3 * t), atol=1e-5)
    assert torch.equal(unaware(x, t), unaware(x, 3 * t))


@pytest.mark.parametrize("recipe", ["mini", "hard", "own", "k700", "ssv2"])
def test_a_recipes_network_begins_as_a_tsn(recipe: str) -> None:
    """MDE, 3STU, SCA and TSA change nothing at first, so pretrained features reach the head unharmed."""
    torch.manual_seed(0)
    cfg = load_config(
        project_root() / f"params/{recipe}.yaml", "model.backbone.name=resnet18 model.backbone.weights=null"
    ).model
    model, tsn = build_model(cfg, 5).eval(), build_model(dataclasses.replace(cfg, temporal="tsn"), 5).eval()
    tsn.load_state_dict({name: value for name, value in model.state_dict().items() if name in tsn.state_dict()})
    torch.testing.assert_close(model(clips()), tsn(clips()))


def test_the_same_seed_gives_the_same_parameters() -> None:
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        models.append(build_model(small(), 5))
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("temporal", ["hitagu", "tsn", "tsm", "gru"])
def test_also_backwards_equals_reversed_clips(temporal: str) -> None:
    """The frames' features are used twice; values and gradients equal those of the reversed clips themselves."""
    model, x = woken(small(temporal=temporal)), clips(3)
    t = torch.tensor([[0.0, 1, 3, 4, 4.5], [0, 2, 3, 5, 6], [1, 2, 3, 4, 5]])
    again = torch.tensor([0, 2])
    both = model(x, t, also_backwards=again)
    back = t[again][:, -1:] - t[again].flip(1)
    apart = torch.cat([model(x, t), model(x[again].flip(1), back)])
    torch.testing.assert_close(both, apart, atol=1e-5, rtol=1e-5)
    weight = next(model.parameters())
    (shared,), (plain,) = (torch.autograd.grad(y.logsumexp(1).sum(), weight) for y in (both, apart))
    torch.testing.assert_close(shared, plain, atol=1e-4, rtol=1e-3)


def test_channels_last_gives_the_same_values_and_gradients() -> None:
    model, x = woken(small()).double(), clips(1, 4, 37, 29).double().requires_grad_()
    t, results = unequal_times(1, 4).double(), []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        model = model.to(memory_format=memory_format)
        logits = model(x.flatten(0, 1).to(memory_format=memory_format).unflatten(0, (1, 4)), t)
        results.append([logits, *torch.autograd.grad(logits.logsumexp(1).sum(), [x, *model.parameters()])])
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.slow
def test_bf16_stays_close() -> None:
    """The pixels' gradients are as far off with the bare backbone: each ReLU that flips by rounding changes a whole gradient."""
    model, t = woken(small()).double(), unequal_times(2, 8)
    values, by_pixels, by_parameters = bf16_errors(model, lambda net, x: [net(x, t.to(x.dtype))], [clips(2, 8, 37, 29)])
    assert values < 0.02 and by_pixels < 0.25 and by_parameters < 0.05


@pytest.mark.parametrize("mde", [True, False])
def test_states_are_those_of_the_forward_pass(mde: bool) -> None:
    cfg = small(mde=SMALL["mde"] | {"enabled": mde})
    model, x, t = woken(cfg), clips(), torch.arange(5.0).expand(2, 5)
    seen: list[torch.Tensor] = []
    hook = model.stu.register_forward_hook(lambda unit, inputs, outputs: seen.extend([inputs[0], outputs[0]]))
    with torch.no_grad():
        _, maps = model(x, t, return_maps=True)
        u, states = model.states(x, t)
        hook.remove()
        assert states.shape == (2, 5, 3, 24, *u.shape[3:])
        torch.testing.assert_close(u, seen[0])
        mix = model.stu(u, t)[1]
        torch.testing.assert_close(mix.mean(3), maps.state_mix)
        read = model.stu.W_o((mix * states).sum(2).flatten(0, 1)).unflatten(0, (2, 5))
        torch.testing.assert_close(u + read, seen[1])


def test_times_that_fall_or_do_not_fit_are_refused() -> None:
    model = woken(small())
    x = torch.randn(2, 3, 3, 32, 32)
    with pytest.raises(
        ClipError, match=r"t: clip 1, frame 2: found 1 after 4; expected times that do not fall: reversed_times"
    ):
        model(x, torch.tensor([[0.0, 1, 2], [0, 4, 1]]))
    for t in (torch.arange(3.0), torch.zeros(2, 4)):
        with pytest.raises(ClipError, match=r"t: found \(.*\); expected \(B, T\) = \(2, 3\)"):
            model(x, t)
    assert model(x, torch.zeros(2, 3)).isfinite().all(), "a frame may be shown twice"


def test_looking_at_the_states_leaves_a_network_in_training_as_it_was() -> None:
    model = woken(small()).train()
    x, t = torch.randn(2, 3, 3, 32, 32), torch.arange(3.0).expand(2, 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    states = model.states(x, t)[1]
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(model.eval().states(x, t)[1], states)


@pytest.mark.parametrize("stu", [{"enabled": False}, {"gru": True, "width": 8}])
def test_a_network_without_3stu_has_no_states(stu: dict) -> None:
    model = woken(small(stu=stu))
    with pytest.raises(ConfigError, match=r"model\.stu: found enabled: false, or gru: true"):
        model.states(clips(), torch.arange(5.0).expand(2, 5))
