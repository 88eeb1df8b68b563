"""The diffusion transformer: padding, order, parity of its attention, and its start at zero."""

import pytest
import torch

from crystal_core.errors import RequestError
from crystal_core.networks.dit import Attention, Dit, DitConfig, atom_positions

SMALL = DitConfig(width=32, n_layers=2, n_heads=4)


def trained_like(config=SMALL, n_inputs=8, **rest):
    """A network whose gates are open: a new one gives exactly zero."""
    torch.manual_seed(0)
    network = Dit(config, n_inputs, **rest)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def inputs(counts=(3, 5), most=5):
    torch.manual_seed(1)
    present = torch.arange(most) < torch.tensor(counts)[:, None]
    return torch.randn(len(counts), most, 8) * present.unsqueeze(-1), torch.tensor([0.2, 0.7]), present


def test_new_network_gives_exactly_zero():
    assert Dit(SMALL, 8)(*inputs()).abs().max() == 0


def test_padding_changes_nothing():
    network = trained_like()
    short, long = network(*inputs()), None
    rows, time, present = inputs()
    more = torch.cat([rows, 100 * torch.randn(2, 4, 8)], dim=1)
    long = network(more, time, torch.cat([present, torch.zeros(2, 4, dtype=torch.bool)], dim=1))
    torch.testing.assert_close(long[:, :5], short, rtol=1e-5, atol=1e-5)
    assert long[:, 5:].abs().max() == 0


def test_order_of_atoms_matters_only_with_positions():
    rows, time, present = inputs(counts=(5, 5))
    order = torch.tensor([4, 2, 0, 1, 3])
    without = trained_like()
    torch.testing.assert_close(
        without(rows[:, order], time, present), without(rows, time, present)[:, order], rtol=1e-5, atol=1e-5
    )
    published = trained_like(DitConfig(width=32, n_layers=2, n_heads=4, positions=True))
    assert not torch.allclose(
        published(rows[:, order], time, present), published(rows, time, present)[:, order], atol=1e-3
    )


def test_attention_is_that_of_torch():
    torch.manual_seed(0)
    ours, theirs = Attention(32, 4), torch.nn.MultiheadAttention(32, 4, batch_first=True)
    with torch.no_grad():
        ours.in_proj_bias.normal_()
    theirs.load_state_dict(ours.state_dict())
    x, _, present = torch.randn(2, 5, 32), None, inputs()[2]
    expected, _ = theirs(x, x, x, key_padding_mask=~present, need_weights=False)
    torch.testing.assert_close(ours(x, present), expected, rtol=1e-5, atol=1e-5)


def test_a_condition_changes_the_answer_once_trained():
    network = trained_like(n_conditions=2)
    rows, time, present = inputs()
    one = network(rows, time, present, torch.zeros(2, 2))
    assert not torch.allclose(one, network(rows, time, present, torch.ones(2, 2)), atol=1e-3)


def test_positions_begin_with_half_turns():
    table = atom_positions(3, 4, torch.zeros(1))
    # index 1: sin and cos of pi, and of pi / 2048^(1/2)
    expected = torch.tensor([torch.pi, torch.pi / 2048**0.5])
    torch.testing.assert_close(table[1], torch.cat([expected.sin(), expected.cos()]))


def test_published_size():
    published = DitConfig(width=768, n_layers=12, n_heads=12, time_scale=1.0, positions=True)
    with torch.device("meta"):
        network = Dit(published, 256)
    # the release counts 130,082,560 with two unused label tables of 2 and 231 rows
    assert sum(p.numel() for p in network.parameters()) == 130_082_560 - 233 * 768


def test_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(RequestError, match="multiple"):
        DitConfig(width=100, n_heads=8)
