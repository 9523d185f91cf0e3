"""model.causal: no output depends on a later frame; the prefixes of a clip, the loss over them, and what cannot be causal."""

import dataclasses

import pytest
import torch
from networks import CAUSAL, woken

from hitagu_lib.config import Config, ModelConfig, resolve
from hitagu_lib.errors import ConfigError
from hitagu_lib.models.attention import TemporalSelfAttention
from hitagu_lib.models.losses import TotalLoss
from hitagu_lib.models.mde import MDE, motion_energy

BANDED = {"width": 24, "whole_frame": True, "bands": True, "broadcast": "none"}
NETWORKS = {
    "hitagu": {},
    "banded unit, last": {"stu": BANDED, "readout": "last"},
    "both": {"readout": "both"},
    "memory": {"readout": "memory"},
    "gru at each position": {"stu": {"width": 24, "gru": True}},
    "gates see state": {"stu": {"width": 24, "gates_see_state": True}},
    "no position": {"attention": CAUSAL["attention"] | {"tsa_position": False}},
    "window of one": {"attention": CAUSAL["attention"] | {"tsa_window": 1}},
    "no mde": {"mde": {"enabled": False}},
    "no stu": {"stu": {"enabled": False}},
    "no attention": {"attention": {"sca": False, "tsa": False}},
    "tsn": {"temporal": "tsn"},
    "tsm": {"temporal": "tsm"},
    "gru": {"temporal": "gru", "readout": "both"},
}
each_network = pytest.mark.parametrize("changes", NETWORKS.values(), ids=NETWORKS)


def small(**changes: object) -> ModelConfig:
    return resolve({"model": CAUSAL | changes}).model


def clips(B: int = 2, T: int = 5, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(B, T, 3, 32, 32, generator=random), (0.2 + 2 * torch.rand(B, T, generator=random)).cumsum(1)


@each_network
def test_no_output_depends_on_a_later_frame(changes: dict) -> None:
    """By gradients, through every module: of each prefix, and of each map, for every pair of frames."""
    model = woken(small(**changes))
    x, t = clips(1)
    x.requires_grad_()
    logits, maps = model(x, t, return_maps=True)
    outputs = {name: value for name, value in vars(maps).items() if value is not None and name != "clip_embedding"}
    if "temporal_attention" in outputs:
        outputs["temporal_attention"] = outputs["temporal_attention"].transpose(1, 2)  # (B, T, heads, T)
    assert torch.equal(maps.prefix_logits[:, -1], logits)
    for name, value in outputs.items():
        if name == "temporal_attention" and value.shape[-1] == 1:
            continue
        for n in range(5):
            (seen,) = torch.autograd.grad(value[:, n].square().sum(), x, retain_graph=True)
            reached = seen.abs().amax((0, 2, 3, 4))
            assert not reached[n + 1 :].any(), (name, n)
            if name in ("prefix_logits", "frame_embeddings"):
                assert reached[n] > 0, (name, n)


@pytest.mark.parametrize("temporal", ["hitagu", "tsm"])
def test_a_network_that_is_not_causal_fails_the_gradient_test(temporal: str) -> None:
    model = woken(small(causal=False, temporal=temporal))
    x, t = clips(1)
    x.requires_grad_()
    _, maps = model(x, t, return_maps=True)
    (seen,) = torch.autograd.grad(maps.frame_embeddings[:, 0].square().sum(), x)
    assert seen[:, 1:].any()


@each_network
def test_the_logits_of_a_prefix_are_those_of_the_clip_that_ends_there(changes: dict) -> None:
    model = woken(small(**changes))
    x, t = clips()
    with torch.inference_mode():
        every = model(x, t, every_prefix=True)
        assert every.shape == (2, 5, 5)
        for n in range(1, 6):
            torch.testing.assert_close(every[:, n - 1], model(x[:, :n], t[:, :n]), rtol=0, atol=1e-5)
    assert not torch.allclose(every[:, 0], every[:, 4], atol=1e-3)


def test_only_a_causal_network_has_prefixes() -> None:
    with pytest.raises(ConfigError, match=r"model\.causal: found false; expected true"):
        woken(small(causal=False))(*clips(), every_prefix=True)


def test_a_frame_sees_no_more_than_the_window() -> None:
    torch.manual_seed(0)
    tsa = TemporalSelfAttention(small().attention, 8, causal=True)
    torch.nn.init.normal_(tsa.out.weight)
    tokens, t = torch.randn(1, 6, 8), torch.arange(6.0)[None]
    weights = tsa.weights(tokens, t)[0, 0]
    seen = torch.ones(6, 6).tril().triu(-2) > 0
    assert torch.equal(weights > 0, seen)
    torch.testing.assert_close(weights.sum(1), torch.ones(6))
    torch.testing.assert_close(tsa(tokens, t), tsa(tokens, t + 1000), rtol=0, atol=1e-4)


def test_mde_looks_back_alone_and_takes_the_first_frame_to_follow_itself() -> None:
    """The causal maps of frame t are those of the pair (t - 1, t); those of the first, of a pair of two first frames."""
    cfg = small().mde
    torch.manual_seed(0)
    mde = MDE(cfg, {"stem": 64, "layer2": 128}, "layer2", causal=True).eval()
    for projection in (mde.W_a, mde.W_e):
        torch.nn.init.normal_(projection.weight)
    top, reduced = torch.randn(4, 128, 4, 4), [torch.randn(4, 8, 8, 8), torch.randn(4, 8, 4, 4)]
    whole, _ = mde(top, reduced, 4)
    for n in range(4):
        before = [r[max(n - 1, 0)][None] for r in reduced]
        alone, _ = mde(top[n : n + 1], [r[n : n + 1] for r in reduced], 1, before)
        torch.testing.assert_close(alone[0], whole[n])
    still = reduced[1][:1].expand(3, -1, -1, -1)[None]
    assert not motion_energy(still, 0, still[:, :1]).any()


def test_the_prefix_loss_is_the_mean_over_prefixes() -> None:
    cfg = resolve({"model": CAUSAL, "train": {"prefix_loss": 0.5, "label_smoothing": 0.0}})
    model, labels = woken(cfg.model), torch.tensor([1, 4])
    logits, maps = model(*clips(), return_embeddings=True)
    total, terms = TotalLoss(cfg.train, 5, model.clip_width)(logits, maps, labels)
    by_hand = -torch.stack(
        [maps.prefix_logits[b, n].log_softmax(0)[labels[b]] for b in range(2) for n in range(5)]
    ).mean()
    torch.testing.assert_close(terms["prefix"], by_hand)
    torch.testing.assert_close(total, terms["cross_entropy"] + 0.5 * by_hand)


def test_switches_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"train\.prefix_loss: found 0\.5; expected 0, or model\.causal: true"):
        resolve({"train": {"prefix_loss": 0.5}})
    with pytest.raises(ConfigError, match=r"model\.mde\.reads.*found forward alone"):
        small(mde=CAUSAL["mde"] | {"reads": ["forward"], "shift_radius": 0})
    assert dataclasses.replace(Config().model, causal=True).causal


def test_weights_of_a_network_that_is_not_causal_fit_where_its_mde_reads_nothing_ahead() -> None:
    changes = {"mde": CAUSAL["mde"] | {"reads": ["map", "backward"]}}
    attention = CAUSAL["attention"] | {"tsa_relative": True}
    network = woken(small(causal=False, attention=attention, **changes))
    woken(small(**changes)).load_state_dict(network.state_dict())
