"""Every shipped configuration reads; those for a GPU draw and measure rows as those for a
CPU have learnt to.
"""

import pytest

from crystal_core.generators.kldm.training import settings_from
from crystal_core.registry.methods import TRAINERS, find
from crystal_core.workflows.train import configurations, method_of


@pytest.mark.parametrize("path", configurations().values(), ids=lambda p: p.stem)
def test_the_method_of_a_configuration_reads_it(path):
    text = path.read_text(encoding="utf-8")
    settings = find(TRAINERS, method_of(text), "training").settings_from(text)
    paper = path.parents[1].name
    assert method_of(text).startswith(paper) and path.stem.startswith(paper)
    assert path.stem.startswith(settings.name)


@pytest.mark.parametrize("name", ["kldm-csp-mp", "kldm-dng-mp"])
def test_a_gpu_configuration_draws_rows_as_its_cpu_one_does(name):
    gpu, cpu = (
        settings_from(configurations()[file].read_text(encoding="utf-8")) for file in (name, f"{name}-cpu")
    )
    for field in (
        "name",
        "task",
        "max_e_above_hull_ev",
        "favoured_e_above_hull_ev",
        "favoured_source",
        "favour",
        "process",
    ):
        assert getattr(gpu, field) == getattr(cpu, field), field
    assert 0 < gpu.size_power <= cpu.size_power
    assert gpu.match_rows >= cpu.match_rows and gpu.match_every_epochs == cpu.match_every_epochs
    assert gpu.fit.decay_fraction == cpu.fit.decay_fraction and gpu.fit.clip_norm == cpu.fit.clip_norm
    assert gpu.network.hidden_dim > cpu.network.hidden_dim and gpu.fit.batch_size > cpu.fit.batch_size
