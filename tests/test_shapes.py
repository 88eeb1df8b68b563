"""The shapes of signatures are compared in every call of the core, and a wrong one is named."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import crystal_core
from tests.shapes import ShapeError, check_members, checked


def stretch(positions: Float[Tensor, "atoms 3"], weights: Float[Tensor, "atoms"]) -> Float[Tensor, "atoms 3"]:
    return positions * weights[0]


def turn(values: Float[Tensor, "atoms"] | None, n: int) -> tuple[Float[Tensor, "atoms"], Int[Tensor, "n"]]:
    return values, torch.zeros(n, dtype=torch.long) if n else torch.zeros(2)


@dataclass(frozen=True)
class Sites:
    numbers: Int[np.ndarray, "atoms"]
    places: Float[np.ndarray, "atoms 3"]

    @property
    def first(self) -> Float[np.ndarray, "3"]:
        return self.places[:, 0]


def test_arguments_and_results_of_one_call_share_their_names():
    good = checked(stretch)
    assert good(torch.rand(4, 3), torch.rand(4)).shape == (4, 3)
    with pytest.raises(ShapeError, match=r"stretch: weights is no .*atoms.*torch.Size\(\[5\]\)"):
        good(torch.rand(4, 3), torch.rand(5))
    with pytest.raises(ShapeError, match="positions"):
        good(torch.rand(4, 2), torch.rand(4))
    with pytest.raises(ShapeError, match="positions"):  # whole numbers
        good(torch.ones(4, 3, dtype=torch.long), torch.rand(4))


def test_parts_of_a_tuple_and_none_are_compared():
    good = checked(turn)
    assert good(torch.rand(2), 3)[1].shape == (3,)
    with pytest.raises(ShapeError, match="the result"):
        good(torch.rand(2), 0)
    with pytest.raises(ShapeError, match="the result"):  # None may come in, but not out
        good(None, 3)


def test_fields_and_properties_of_a_class_are_compared():
    module = ModuleType(__name__)
    module.Sites = Sites
    check_members(module, __name__)
    with pytest.raises(ShapeError, match="places"):
        Sites(np.array([1, 2]), np.zeros((3, 3)))
    with pytest.raises(ShapeError, match="first"):
        _ = Sites(np.array([1, 2]), np.zeros((2, 3))).first


def test_what_states_no_shape_stays_as_it_is():
    assert checked(test_what_states_no_shape_stays_as_it_is) is test_what_states_no_shape_stays_as_it_is


def members(owner):
    for member in vars(owner).values():
        yield getattr(member, "__func__", getattr(member, "fget", member))
        if isinstance(member, type) and member.__module__ == getattr(owner, "__name__", ""):
            yield from members(member)


ROOT = Path(crystal_core.__file__).parent
SHAPED = [
    path
    for path in sorted(ROOT.rglob("*.py"))
    if "import Float" in path.read_text() or "import Bool" in path.read_text()
]


@pytest.mark.parametrize("path", SHAPED, ids=lambda path: path.stem)
def test_every_module_of_the_core_that_states_shapes_is_compared(path):
    name = ".".join(("crystal_core", *path.relative_to(ROOT).with_suffix("").parts))
    module = importlib.import_module(name)
    assert any(hasattr(member, "shapes") for member in members(module))
