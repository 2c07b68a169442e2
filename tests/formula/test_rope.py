import copy
import math

import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from tsumiki.nn.position import inverse_frequencies
from tsumiki.nn.rope import (
    LinearScaling,
    NtkScaling,
    Rope,
    RopeConfig,
    Rotation,
    YarnScaling,
    rotate,
    scaled_frequencies,
    yarn_index_range,
)

GPT_OSS = YarnScaling(factor=32.0, original_max_seq_len=4096)
SCALINGS = [None, LinearScaling(factor=4.0), NtkScaling(factor=4.0), YarnScaling(factor=4.0, original_max_seq_len=256)]


def transformers_rope(head_dim, theta, max_seq_len, *, seq_len=None, **parameters):
    """Frequencies and attention factor as transformers computes them."""
    config = LlamaConfig(
        hidden_size=head_dim,
        num_attention_heads=1,
        max_position_embeddings=max_seq_len,
        rope_parameters={"rope_theta": theta, **parameters},
    )
    return ROPE_INIT_FUNCTIONS[parameters["rope_type"]](config, seq_len=seq_len)


def random_heads(length, head_dim=14, dtype=torch.float32):
    return torch.randn(2, length, 3, head_dim, dtype=dtype)


def at_positions(*positions):
    return torch.tensor([positions, positions])


# Rotation


def test_numbers_to_check_by_hand():
    half_turn = Rotation(cos=torch.tensor([[[-1.0, 0.0]]]), sin=torch.tensor([[[0.0, 1.0]]]))
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 1, 4)  # the pairs (1, 3) and (2, 4)
    assert rotate(x, half_turn).flatten().tolist() == [-1.0, -4.0, -3.0, 2.0]  # by 180 and by 90 degrees


def test_rotation_agrees_with_complex_numbers():
    rope, positions = Rope(14, RopeConfig()), at_positions(0, 1, 2, 257)
    x = random_heads(4)
    turned = rotate(x, rope.rotation(positions))
    spin = torch.polar(torch.ones(2, 4, 7, dtype=torch.float64), positions[..., None] * inverse_frequencies(14))
    expected = torch.complex(*x.double().chunk(2, dim=-1)) * spin[:, :, None]
    torch.testing.assert_close(turned.double(), torch.cat((expected.real, expected.imag), dim=-1), rtol=0, atol=5e-5)
    assert torch.equal(turned[:, 0], x[:, 0])


def test_rotation_agrees_with_transformers(agree):
    rotation = Rope(14, RopeConfig()).rotation(at_positions(0, 1, 5, 11, 101))

    def reference(x):
        cos, sin = (torch.cat((part, part), dim=-1) for part in rotation)
        return apply_rotary_pos_emb(x, x, cos, sin, unsqueeze_dim=2)[0]

    agree(lambda x: rotate(x, rotation), reference, random_heads(5))


def test_the_interleaved_layout_is_a_permutation():
    """The paper pairs coordinates 2i and 2i + 1; with the coordinates of q and k reordered, the scores are equal."""
    rotation = Rope(14, RopeConfig()).rotation(at_positions(*range(5)))
    q, k = random_heads(5), random_heads(5)

    def interleaved(x):
        even, odd = x[..., ::2], x[..., 1::2]
        cos, sin = rotation.cos.unsqueeze(-2), rotation.sin.unsqueeze(-2)
        return torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2)

    def reordered(x):
        return torch.cat((x[..., ::2], x[..., 1::2]), dim=-1)

    ours = torch.einsum("btnd,bsnd->bnts", rotate(reordered(q), rotation), rotate(reordered(k), rotation))
    theirs = torch.einsum("btnd,bsnd->bnts", interleaved(q), interleaved(k))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("scaling", SCALINGS, ids=["plain", "linear", "ntk", "yarn"])
def test_a_score_depends_on_the_distance_alone(scaling):
    rope = Rope(14, RopeConfig(scaling=scaling))
    q, k = torch.randn(2, 14) / 14**0.5
    everywhere = torch.arange(199).expand(1, 199)

    def turned(x):
        return rotate(x.expand(1, 199, 1, 14), rope.rotation(everywhere))[0, :, 0]

    scores = turned(q) @ turned(k).T
    for distance in (0, 1, 7, 101):
        diagonal = scores.diagonal(-distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-5)


def test_turning_changes_no_length():
    x = random_heads(5)
    turned = rotate(x, Rope(14, RopeConfig()).rotation(at_positions(0, 3, 50, 700, 100_000)))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))


def test_the_gradient_is_right():
    rotation = Rope(6, RopeConfig()).rotation(torch.tensor([[0, 3]]))
    rotation = Rotation(rotation.cos.double(), rotation.sin.double())
    x = torch.randn(1, 2, 1, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: rotate(x, rotation), x)


def test_other_layouts_of_the_input():
    rotation = Rope(14, RopeConfig()).rotation(at_positions(0, 1, 2))
    x = torch.randn(14, 3, 3, 2).permute(3, 1, 2, 0)
    assert torch.equal(rotate(x, rotation), rotate(x.contiguous(), rotation))
    empty = Rope(14, RopeConfig()).rotation(torch.empty(0, 3, dtype=torch.int64))
    assert rotate(torch.empty(0, 3, 5, 14), empty).shape == (0, 3, 5, 14)


# Precision and devices


def test_angles_are_fp32_whatever_the_dtype_of_the_model():
    rope, positions = Rope(14, RopeConfig()), at_positions(0, 1, 1000)
    expected = rope.rotation(positions)
    for changed in (copy.deepcopy(rope).to(torch.bfloat16), copy.deepcopy(rope).half(), copy.deepcopy(rope).double()):
        assert changed.inverse_frequencies.dtype == torch.float32
        for mine, theirs in zip(changed.rotation(positions), expected, strict=True):
            assert torch.equal(mine, theirs)
    with torch.autocast("cpu", torch.bfloat16):
        for mine, theirs in zip(rope.rotation(positions), expected, strict=True):
            assert torch.equal(mine, theirs)


def test_on_the_same_device_the_frequencies_are_never_exchanged():
    """A recorded training step reads their memory; a new tensor would leave it with whatever comes there."""
    rope = Rope(14, RopeConfig())
    kept = rope.inverse_frequencies
    for same in (rope.to("cpu"), rope.to(torch.bfloat16), rope.float()):
        assert same.inverse_frequencies is kept
    assert torch.equal(kept, Rope(14, RopeConfig()).inverse_frequencies)


def test_frequencies_are_rounded_once():
    exact = torch.tensor([10000 ** (-2 * i / 14) for i in range(7)], dtype=torch.float64)
    assert torch.equal(Rope(14, RopeConfig()).inverse_frequencies, exact.float())


def test_bf16_is_turned_in_fp32():
    rotation, x = Rope(14, RopeConfig()).rotation(at_positions(0, 5, 300)), random_heads(3).bfloat16()
    assert rotate(x, rotation).dtype == torch.bfloat16
    assert torch.equal(rotate(x, rotation), rotate(x.float(), rotation).bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(rotate(x, rotation), rotate(x.float(), rotation).bfloat16())
    assert rotate(x.double(), rotation).dtype == torch.float64


def test_nothing_is_saved_and_a_model_from_the_meta_device_has_its_frequencies():
    with torch.device("meta"):
        rope = Rope(14, RopeConfig())
    assert rope.inverse_frequencies.is_meta
    assert not rope.state_dict()
    rope = rope.to_empty(device="cpu")
    assert torch.equal(rope.inverse_frequencies, Rope(14, RopeConfig()).inverse_frequencies)


# Scaling


def test_the_figures_of_gpt_oss():
    low, high = yarn_index_range(64, 150_000.0, GPT_OSS)
    assert low == pytest.approx(8.0928, abs=5e-5)
    assert high == pytest.approx(17.3980, abs=5e-5)
    assert Rope(64, RopeConfig(theta=150_000.0, scaling=GPT_OSS)).attention_scale == pytest.approx(1.34657, abs=5e-6)


@pytest.mark.parametrize(
    ("factor", "scale"), [(1.0, 1.0), (2.0, 1.0693), (4.0, 1.1386), (8.0, 1.2079), (16.0, 1.2773), (32.0, 1.3466)]
)
def test_the_temperature_of_yarn(factor, scale):
    scaling = YarnScaling(factor=factor, original_max_seq_len=256)
    rope = Rope(14, RopeConfig(scaling=scaling))
    assert rope.attention_scale == pytest.approx(scale, abs=5e-5)
    x = random_heads(3)
    turned = rotate(x, rope.rotation(at_positions(0, 1, 2)))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1) * rope.attention_scale)
    cool = YarnScaling(factor=factor, original_max_seq_len=256, temperature=False)
    assert Rope(14, RopeConfig(scaling=cool)).attention_scale == 1.0


@pytest.mark.parametrize(
    ("length", "head_dim", "low", "high"),
    [(256, 64, 0.839, 12.88), (512, 64, 3.248, 15.29), (1024, 64, 5.656, 17.70), (256, 32, 0.420, 6.44)],
)
def test_index_ranges_of_short_contexts(length, head_dim, low, high):
    found = yarn_index_range(head_dim, 10_000.0, YarnScaling(factor=4.0, original_max_seq_len=length))
    assert found == pytest.approx((low, high), abs=5e-3)


def test_yarn_numbers_to_check_by_hand():
    """d 8, theta 10^4: the pairs turn at 1, 0.1, 0.01, 0.001; within L = 628 ≈ 2π·100 about 100, 10, 1, 0.1 times."""

    def frequencies(**options):
        scaling = YarnScaling(factor=4.0, original_max_seq_len=628, **options)
        return scaled_frequencies(8, RopeConfig(scaling=scaling)).tolist()

    # γ = (9.995 - 1) / 31 = 0.2902 for the second pair, 1 before, 0 after.
    by_wavelength = [1.0, 0.1 * (0.2902 + 0.7098 / 4), 0.0025, 0.00025]
    assert frequencies(ramp="wavelength") == pytest.approx(by_wavelength, rel=1e-3)
    # The ramp goes from pair 0.4946 to pair 1.9989: γ = 1 - (1 - 0.4946) / 1.5043 = 0.6640.
    assert frequencies() == pytest.approx([1.0, 0.1 * (0.6640 + 0.3360 / 4), 0.0025, 0.00025], rel=1e-3)
    # Truncated, it goes from pair 0 to pair 2.
    assert frequencies(truncate=True) == pytest.approx([1.0, 0.1 * (0.5 + 0.5 / 4), 0.0025, 0.00025], rel=1e-9)


@pytest.mark.parametrize("truncate", [True, False])
@pytest.mark.parametrize("theta", [10_000.0, 150_000.0])
@pytest.mark.parametrize("head_dim", [14, 64])
@pytest.mark.parametrize("length", [17, 101, 256, 4096, 131_072])
@pytest.mark.parametrize("betas", [(32.0, 1.0), (8.0, 1.0), (16.0, 2.0)])
def test_yarn_agrees_with_transformers(truncate, theta, head_dim, length, betas):
    fast, slow = betas
    theirs, factor = transformers_rope(
        head_dim,
        theta,
        32 * length,
        rope_type="yarn",
        factor=32.0,
        original_max_position_embeddings=length,
        beta_fast=fast,
        beta_slow=slow,
        truncate=truncate,
    )
    scaling = YarnScaling(factor=32.0, original_max_seq_len=length, beta_fast=fast, beta_slow=slow, truncate=truncate)
    rope = Rope(head_dim, RopeConfig(theta=theta, scaling=scaling))
    torch.testing.assert_close(rope.inverse_frequencies, theirs, rtol=5e-6, atol=0)
    assert rope.attention_scale == pytest.approx(factor)


def test_plain_and_linear_agree_with_transformers():
    theirs, _ = transformers_rope(14, 10_000.0, 1024, rope_type="linear", factor=4.0)
    ours = Rope(14, RopeConfig(scaling=LinearScaling(factor=4.0)))
    torch.testing.assert_close(ours.inverse_frequencies, theirs, rtol=1e-6, atol=0)
    torch.testing.assert_close(Rope(14, RopeConfig()).inverse_frequencies, 4 * theirs, rtol=1e-6, atol=0)
    assert ours.attention_scale == 1.0


def test_ntk_agrees_with_transformers_and_slows_the_slowest_pair_by_the_factor():
    """transformers has the formula with a factor that follows the length: 5 times the trained length, factor 5."""
    theirs, _ = transformers_rope(14, 10_000.0, 256, rope_type="dynamic", factor=1.0, seq_len=5 * 256)
    plain, ours = Rope(14, RopeConfig()), Rope(14, RopeConfig(scaling=NtkScaling(factor=5.0)))
    torch.testing.assert_close(ours.inverse_frequencies, theirs, rtol=1e-6, atol=0)
    ratio = plain.inverse_frequencies / ours.inverse_frequencies
    assert ratio[0] == 1.0
    assert ratio[-1].item() == pytest.approx(5.0, rel=1e-6)
    assert (ratio.diff() > 0).all()


@pytest.mark.parametrize("ramp", ["index", "wavelength"])
@pytest.mark.parametrize("length", [1, 3, 17, 64, 199, 256, 1024, 1_000_003])
@pytest.mark.parametrize("head_dim", [2, 14, 64])
def test_yarn_stays_between_untouched_and_interpolated(ramp, length, head_dim):
    scaling = YarnScaling(factor=8.0, original_max_seq_len=length, ramp=ramp)
    plain = inverse_frequencies(head_dim)
    slowed = plain / scaled_frequencies(head_dim, RopeConfig(scaling=scaling))
    assert ((slowed > 1 - 1e-12) & (slowed < 8 + 1e-12)).all()
    assert (slowed.diff() > -1e-12).all()  # the slower a pair, the more it is slowed
    never_round = plain * length < 2 * math.pi
    never_round[0] = False  # a short context cuts the index ramp off at the first pair
    torch.testing.assert_close(slowed[never_round], torch.full_like(slowed[never_round], 8.0))


def test_a_factor_of_one_changes_nothing():
    for scaling in (
        LinearScaling(factor=1.0),
        NtkScaling(factor=1.0),
        YarnScaling(factor=1.0, original_max_seq_len=256),
        YarnScaling(factor=1.0, original_max_seq_len=256, ramp="wavelength"),
    ):
        rope = Rope(14, RopeConfig(scaling=scaling))
        torch.testing.assert_close(rope.inverse_frequencies, Rope(14, RopeConfig()).inverse_frequencies)
        assert rope.attention_scale == 1.0


# Errors


def test_what_makes_no_sense_is_an_error():
    with pytest.raises(ValueError, match="head_dim is 7, but RoPE turns pairs"):
        Rope(7, RopeConfig())
    with pytest.raises(ValueError, match="head_dim is 2, but ntk"):
        Rope(2, RopeConfig(scaling=NtkScaling(factor=2.0)))
    with pytest.raises(ValueError, match=r"theta is 1\.0"):
        RopeConfig(theta=1.0)
    for scaling in (LinearScaling, NtkScaling):
        with pytest.raises(ValueError, match=r"factor is 0\.5"):
            scaling(factor=0.5)
    with pytest.raises(ValueError, match="factor is nan"):
        YarnScaling(factor=math.nan, original_max_seq_len=256)
    with pytest.raises(ValueError, match="original_max_seq_len is 0"):
        YarnScaling(factor=2.0, original_max_seq_len=0)
    with pytest.raises(ValueError, match="0 < beta_slow < beta_fast"):
        YarnScaling(factor=2.0, original_max_seq_len=256, beta_fast=1.0, beta_slow=1.0)
    with pytest.raises(ValueError, match="set ramp to index"):
        YarnScaling(factor=2.0, original_max_seq_len=256, ramp="wavelength", truncate=True)
