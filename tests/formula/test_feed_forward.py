import pytest
import torch
from torch.nn import functional

from tsumiki.nn.activation import Activations
from tsumiki.nn.feed_forward import FEED_FORWARDS, GeluFeedForward, SwiGLUFeedForward

CONFIGS = [
    GeluFeedForward.Config(d_ff=11),
    GeluFeedForward.Config(d_ff=11, bias=False, approximate="none"),
    SwiGLUFeedForward.Config(d_ff=11),
    SwiGLUFeedForward.Config(d_ff=11, bias=True, limit=0.7, alpha=1.3),
]
NAMES = ["gelu_tanh", "gelu", "swiglu", "clamped_swiglu"]


def make(config, **options):
    return FEED_FORWARDS[config.variant](config, d_model=5, std=0.5, residual_std=0.25, **options)


def reference(layer, x):
    def project(name, x):
        linear = layer.get_submodule(name)
        return functional.linear(x, linear.weight, linear.bias)

    config, up = layer.config_under_test, project("up_proj", x)
    if isinstance(config, GeluFeedForward.Config):
        return project("down_proj", functional.gelu(up, approximate=config.approximate))
    gate = project("gate_proj", x)
    if config.limit is None:
        return project("down_proj", functional.silu(gate) * up)
    gate, up = gate.clamp(max=config.limit), up.clamp(-config.limit, config.limit)
    return project("down_proj", gate * torch.sigmoid(config.alpha * gate) * (up + 1))


@pytest.mark.parametrize("config", CONFIGS, ids=NAMES)
def test_agrees_with_torch(agree, dtype, config):
    layer = make(config).to(dtype)
    layer.config_under_test = config
    for name, parameter in layer.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_()
    agree(layer, lambda x: reference(layer, x), torch.randn(2, 3, 5, dtype=dtype))


@pytest.mark.parametrize("config", CONFIGS, ids=NAMES)
def test_every_parameter_learns(config):
    layer = make(config)
    layer(torch.randn(3, 5)).square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@pytest.mark.parametrize(("config", "name"), list(zip(CONFIGS, NAMES, strict=True)), ids=NAMES)
def test_the_activation_is_a_part_that_can_be_exchanged(config, name):
    def nothing(x, *others, **options):
        return torch.zeros_like(x)

    layer = make(config, activations=Activations(**{name: nothing}))
    assert not layer(torch.randn(3, 5)).any()


def test_projections_into_the_residual_stream_start_smaller():
    for config in (GeluFeedForward.Config(d_ff=307), SwiGLUFeedForward.Config(d_ff=307)):
        layer = FEED_FORWARDS[config.variant](config, d_model=211, std=0.02, residual_std=0.005)
        for name, parameter in layer.named_parameters():
            if name.endswith("weight"):
                expected = 0.005 if name.startswith("down_proj") else 0.02
                assert parameter.std().item() == pytest.approx(expected, rel=0.03)


def test_what_makes_no_sense_is_an_error():
    with pytest.raises(ValueError, match="d_ff is 0"):
        GeluFeedForward.Config(d_ff=0)
    with pytest.raises(ValueError, match=r"alpha is 1\.702, but it belongs to the clamped form"):
        SwiGLUFeedForward.Config(d_ff=11, alpha=1.702)
    with pytest.raises(ValueError, match=r"limit is -1\.0"):
        SwiGLUFeedForward.Config(d_ff=11, limit=-1.0)


@pytest.mark.parametrize("config", CONFIGS, ids=NAMES)
def test_other_layouts_of_the_input(config):
    layer, x = make(config), torch.randn(5, 7, 3)
    torch.testing.assert_close(layer(x.permute(2, 1, 0)), layer(x.permute(2, 1, 0).contiguous()))
    assert layer(torch.empty(0, 3, 5)).shape == (0, 3, 5)
