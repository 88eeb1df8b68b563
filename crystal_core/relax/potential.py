"""Interatomic potentials whose package holds their weights: CHGNet.

Deng et al., Nature Machine Intelligence 2023.

Conventions of energies live here: **CHGNet returns energies that already hold the Materials Project's 2020
corrections** (it was trained on corrected energies). Correcting them again would shift oxides by 0.2
eV/atom; nothing here does.
"""

from __future__ import annotations

import contextlib
import gc
import io
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from crystal_core.checks import check_choice
from crystal_core.errors import MissingExtra, RelaxationFailed
from crystal_core.requests import PotentialName

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator
    from pymatgen.core import Structure

CUTOFF = 6.0  # Å: CHGNet's graph; an atom without a neighbour within it has no energy
MIN_VOLUME_PER_ATOM = 3.0  # Å3: diamond has 5.7; the cost of a denser cell grows without bound
HEAVIEST = 94
MAX_ATOMS = 500
GPA_PER_EV_PER_CUBIC_ANGSTROM = 160.21766208
Task = Literal["e", "efs"]
# parts of CHGNet that nothing here calls: dynamics and readers of VASP, which import matplotlib
# and scipy.signal for seconds
UNUSED = ("chgnet.model.dynamics", "chgnet.utils.vasp_utils")


@dataclass(frozen=True, kw_only=True)
class Potential:
    """A loaded potential.

    Attributes:
        name: its name in requests. label: name and version for people. device: where it runs, e.g. "cuda".
    """

    name: PotentialName
    label: str
    device: str
    model: Any

    def predict(self, structure: Structure, task: Task = "efs") -> Mapping[str, np.ndarray]:
        """Energy ``e`` (eV/atom, 2020 scheme); "efs": also ``f`` (atoms, 3) in eV/Å and ``s`` (3, 3) in GPa.

        Raises:
            RelaxationFailed: the cell is outside what the potential can take, or its answer is not finite.
        """
        return self._finite(structure, partial(_derivatives, self.model) if task == "efs" else self._energy)

    def _energy(self, graph: Any) -> dict[str, np.ndarray]:
        import torch

        with torch.no_grad():
            return dict(self.model.predict_graph(graph, task="e"))

    def features(self, structure: Structure) -> np.ndarray:
        """(64,) features of the crystal before the last layers: their mean over atoms, equal for any cell.

        Raises:
            RelaxationFailed: as :meth:`predict`.
        """
        import torch

        with torch.no_grad():
            outputs = self._finite(
                structure, partial(self.model.predict_graph, task="e", return_crystal_feas=True)
            )
        # CHGNet sums over atoms here, so a supercell would have other features
        return np.asarray(outputs["crystal_fea"], dtype=np.float64) / len(structure)

    def moments(self, structure: Structure) -> np.ndarray:
        """(atoms,) sizes of the magnetic moments in µB, learned unsigned from PBE and PBE+U.

        Raises:
            RelaxationFailed: as :meth:`predict`.
        """
        import torch

        with torch.no_grad():
            outputs = self._finite(structure, partial(self.model.predict_graph, task="em"))
        return np.asarray(outputs["m"], dtype=np.float64).ravel()

    def _finite(
        self, structure: Structure, answer: Callable[[Any], Mapping[str, np.ndarray]]
    ) -> Mapping[str, np.ndarray]:
        check_cell(structure)
        threshold = gc.get_threshold()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                graph = self.model.graph_converter(_without_files(structure))
                outputs = answer(graph)
        except (ValueError, RuntimeError, IndexError) as error:
            raise RelaxationFailed(_reason(error, self.label)) from error
        finally:
            gc.set_threshold(*threshold)  # CHGNet's converter leaves the collector off when it fails
        if not all(np.isfinite(values).all() for values in outputs.values()):
            raise RelaxationFailed(
                f"{self.label} gives no finite energy for this cell; "
                "it is too far from anything it was trained on."
            )
        return outputs

    def calculator(self) -> Calculator:
        """The potential for ASE."""
        from ase import units
        from ase.calculators.calculator import Calculator, all_changes
        from pymatgen.io.ase import AseAtomsAdaptor

        predict = self.predict

        class Bridge(Calculator):
            implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012 (ASE's own declaration)

            def calculate(
                self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes
            ) -> None:
                super().calculate(atoms, properties, system_changes)
                outputs = predict(AseAtomsAdaptor.get_structure(atoms))
                energy = float(outputs["e"]) * len(atoms)
                self.results = {
                    "energy": energy,
                    "free_energy": energy,
                    "forces": outputs["f"].astype(float),
                    "stress": outputs["s"].astype(float).ravel()[[0, 4, 8, 5, 2, 1]] * units.GPa,
                }

        return Bridge()


def _derivatives(model: Any, graph: Any) -> dict[str, np.ndarray]:
    """Energy, forces and stress of one graph from a single backward pass.

    CHGNet's own ``predict_graph`` takes one pass for the forces and one for the stress, and records
    both so that a training could differentiate them again; nothing here needs that, and without it the
    same numbers cost half.
    """
    import torch
    from chgnet.model.model import BatchedGraph

    graph = graph.to(next(model.parameters()).device)
    batch = BatchedGraph.from_graphs(
        [graph],
        bond_basis_expansion=model.bond_basis_expansion,
        angle_basis_expansion=model.angle_basis_expansion,
        compute_stress=True,
    )
    energy = model._compute(batch)["e"]
    total = energy.sum() * (len(graph.atomic_number) if model.is_intensive else 1)
    slope, strain = torch.autograd.grad(total, [batch.atom_positions[0], batch.strains[0]])
    reference = 0.0 if model.composition_model is None else model.composition_model([graph])
    return {
        "e": (energy + reference).detach().cpu().numpy()[0],
        "f": -slope.cpu().numpy(),
        "s": (strain / batch.volumes[0] * GPA_PER_EV_PER_CUBIC_ANGSTROM).cpu().numpy(),
    }


def is_installed(name: PotentialName = "chgnet") -> bool:
    """Whether the package of a potential is there; imports nothing."""
    return find_spec(name) is not None and find_spec("ase") is not None


def check_installed(name: PotentialName = "chgnet") -> None:
    """Say what is missing without loading anything.

    Raises:
        RequestError: an unknown potential. MissingExtra: its package is not installed.
    """
    check_choice("potential", name, get_args(PotentialName))
    if not is_installed(name):
        raise MissingExtra(
            "Relaxing needs the packages chgnet and ase, whose weights are inside; "
            "install them with: pip install chgnet ase"
        )


@lru_cache(maxsize=2)
def load_potential(name: PotentialName = "chgnet", device: str = "auto") -> Potential:
    """A potential on a device.

    Raises:
        RequestError: an unknown potential or device. MissingExtra: its package is not installed.
    """
    check_installed(name)

    from crystal_core.device import pick_device

    place = pick_device(device)
    # CHGNet greets on stdout, which belongs to --json
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        with _left_out(*UNUSED):
            from chgnet.model.model import CHGNet

        model = CHGNet.load(verbose=False, use_device=str(place))
    model.graph_converter.set_isolated_atom_response("error")
    model.requires_grad_(False)  # derivatives are taken by positions and strain alone
    return Potential(name=name, label=f"CHGNet {model.version}", device=str(place), model=model)


def is_loaded() -> bool:
    """Whether this process has loaded a potential, so that the next run waits for none."""
    return load_potential.cache_info().currsize > 0


@contextlib.contextmanager
def _left_out(*modules: str) -> Iterator[None]:
    """Modules that are not imported in this block; the names that others take from them are None."""
    missing = [name for name in modules if name not in sys.modules]
    for name in missing:
        empty: Any = ModuleType(name)
        empty.__getattr__ = lambda _: None
        sys.modules[name] = empty
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


def check_cell(structure: Structure) -> None:
    """Refuse what would take forever or has no meaning, before any neighbour is sought.

    Raises:
        RelaxationFailed: too many or too heavy atoms, or a density that no crystal has.
    """
    n = len(structure)
    if n > MAX_ATOMS:
        raise RelaxationFailed(
            f"The cell has {n} atoms; relaxing takes at most {MAX_ATOMS}. Use the primitive cell."
        )
    heavy = sorted({site.specie.symbol for site in structure if site.specie.Z > HEAVIEST})
    if heavy:
        raise RelaxationFailed(f"The potential knows the elements up to Pu; {', '.join(heavy)} is beyond it.")
    volume = abs(float(np.linalg.det(structure.lattice.matrix)))
    if not np.isfinite(volume) or volume < MIN_VOLUME_PER_ATOM * n:
        raise RelaxationFailed(
            f"The cell offers {volume / n:.2f} Å3 per atom, "
            f"less than any crystal ({MIN_VOLUME_PER_ATOM:g}); it cannot be relaxed."
        )


def _without_files(structure: Structure) -> Structure:
    """The same crystal, unable to write: CHGNet's converter leaves ``bond_graph_error.cif`` behind."""
    from pymatgen.core import Structure

    class Silent(Structure):
        def to(self, *_: Any, **__: Any) -> str:
            return ""

    return Silent(structure.lattice, structure.species, structure.frac_coords)


def _reason(error: Exception, label: str) -> str:
    if "isolated" in str(error):
        return (
            f"An atom has no neighbour within {CUTOFF:g} Å, and {label} knows no such atoms; "
            "the cell cannot be relaxed."
        )
    return (
        f"{label} could not build its graph of neighbours for this cell ({type(error).__name__}); "
        "the cell cannot be relaxed."
    )
