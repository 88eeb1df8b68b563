"""Linear flow matching: its ends, its loss by hand, and a sampler that finds the data
a perfect network knows.
"""

import torch

from crystal_core.sampling.flow_matching import data_loss, euler, interpolate, masked_noise

PRESENT = torch.tensor([[True, True, False], [True, False, False]])


def rng():
    return torch.Generator().manual_seed(0)


def test_path_runs_from_noise_to_data():
    noise, data = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    torch.testing.assert_close(interpolate(noise, data, torch.tensor([0.0, 1.0]))[0], noise[0])
    torch.testing.assert_close(interpolate(noise, data, torch.tensor([0.0, 1.0]))[1], data[1])


def test_noise_is_zero_in_padded_rows_and_centred_over_them_too():
    plain, centred = masked_noise(PRESENT, 4, rng()), masked_noise(PRESENT, 4, rng(), centred=True)
    assert plain[~PRESENT].abs().max() == centred[~PRESENT].abs().max() == 0
    raw = torch.randn(2, 3, 4, generator=rng())
    torch.testing.assert_close(centred, (raw - raw.mean(dim=1, keepdim=True)) * PRESENT.unsqueeze(-1))


def test_loss_by_hand_and_its_largest_weight():
    predicted, data = torch.zeros(2, 3, 4), torch.zeros(2, 3, 4)
    data[0, 0], data[0, 2] = 2.0, 50.0  # the second of these is padding
    loss = data_loss(predicted, data, torch.tensor([0.5, 0.99]), PRESENT)
    torch.testing.assert_close(loss, torch.tensor([(4.0 + 0.0) / 2 / 0.25, 0.0]))
    late = data_loss(predicted, data, torch.tensor([0.99, 0.5]), PRESENT)[0]
    torch.testing.assert_close(late, torch.tensor(2.0 / 0.1**2))


def test_sampler_reaches_what_a_perfect_network_predicts():
    data = torch.randn(2, 3, 4)
    path = list(euler(lambda z, t: data, torch.randn(2, 3, 4), steps=20))
    assert len(path) == 20
    assert path[0][0] < 0.02
    assert path[-1][0] == 1.0
    torch.testing.assert_close(path[-1][1], data)
    far = [(z - data).norm() for _, z in path]
    assert all(later < earlier for earlier, later in zip(far[:-1], far[1:], strict=True))
