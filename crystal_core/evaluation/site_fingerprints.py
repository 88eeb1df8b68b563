"""Local environments as numbers: the 61 order parameters of CrystalNN's "ops" fingerprint.

Per coordination number 1 … 24 the weight that CrystalNN gives it, and up to 12 neighbours that weight times
how tetrahedral, octahedral, … the neighbours stand (Zimmermann and Jain, RSC Advances 2020). Same features,
in the same order, as matminer's ``CrystalNNFingerprint.from_preset("ops")``; checked against 0.10.1 in
``tests/evaluation/test_fingerprints.py``.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.analysis.local_env import CrystalNN, LocalStructOrderParams
    from pymatgen.core import Structure

N_FEATURES = 61
MAX_NEIGHBOURS = 24
SYMPREC = 1e-4  # Å
_BENT = [
    (0.5, 15.15),
    (0.5802777777777778, 13.95),
    (0.666666666667, 13.25),
    (0.833333333333333, 12.45),
    (1, 8.667),
]
# coordination number → pymatgen's order parameters, each with its settings where they are not pymatgen's own
MOTIFS: dict[int, list[tuple[str, dict[str, Any] | None]]] = {
    1: [("sgl_bd", None)],
    # L-shaped, water-like, 120°, 150°, linear
    2: [("bent", {"TA": angle, "IGW_TA": width}) for angle, width in _BENT],
    3: [
        ("tri_plan_max", None),
        # trigonal, not planar
        ("tet_max", {"TA": 0.6081734479693927, "IGW_TA": 18.33, "fac_AA": 1.5, "exp_cos_AA": 2}),
        ("T", None),
    ],
    4: [
        ("sq_plan_max", None),
        ("tet_max", None),
        ("see_saw_rect", None),
        (
            "tri_bipyr",
            {
                "min_SPP": 2.356194490192345,
                "IGW_EP": 15.75,
                "IGW_SPP": 12.75,
                "fac_AA": 1.5,
                "exp_cos_AA": 2,
                "w_SPP": 1,
            },
        ),
        ("tri_pyr", None),
    ],
    5: [("pent_plan_max", None), ("sq_pyr", None), ("tri_bipyr", None)],
    6: [("hex_plan_max", None), ("oct_max", None), ("pent_pyr", None)],
    7: [("hex_pyr", None), ("pent_bipyr", None)],
    8: [("bcc", None), ("hex_bipyr", None)],
    **{n: [("q2", None), ("q4", None), ("q6", None)] for n in (9, 10, 11)},
    12: [("cuboct_max", None), ("q2", None), ("q4", None), ("q6", None)],
}


def structure_fingerprint(structure: Structure) -> NDArray[np.float64]:
    """(61,) mean of the fingerprints of all sites, as CDVAE's coverage takes it.

    Sites that symmetry makes equal are computed once, which halves the time on MP-20 rows and moves a
    fingerprint by at most 4e-6; the cut-offs of coverage are 0.2 and 0.4.

    Raises:
        Exception: whatever CrystalNN raises where a site has no neighbours or the tessellation fails.
    """
    sites, copies = _inequivalent_sites(structure)
    return np.average([site_fingerprint(structure, site) for site in sites], axis=0, weights=copies)


def site_fingerprint(structure: Structure, site: int) -> NDArray[np.float64]:
    """(61,) fingerprint of one site; see the module for the order."""
    finder, motifs = _tools()
    with warnings.catch_warnings():
        # CrystalNN warns of missing oxidation states, which the protocol leaves out on purpose
        warnings.simplefilter("ignore")
        neighbours = finder.get_nn_data(structure, site)
        values: list[float] = []
        for n in range(1, MAX_NEIGHBOURS + 1):
            weight = float(neighbours.cn_weights.get(n, 0.0))
            values.append(weight)
            if weight == 0.0:
                values += [0.0] * len(motifs.get(n, ()))
                continue
            around: Any = [structure[site], *(entry["site"] for entry in neighbours.cn_nninfo[n])]
            values += [
                weight
                * float(
                    motif.get_order_parameters(around, 0, indices_neighs=list(range(1, len(around))))[0]
                    or 0.0
                )
                for motif in motifs.get(n, ())
            ]
    return np.array(values)


def _inequivalent_sites(structure: Structure) -> tuple[list[int], list[int]]:
    import spglib

    cell: Any = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    try:
        dataset = spglib.get_symmetry_dataset(cell, symprec=SYMPREC)
    except spglib.SpglibError:
        dataset = None
    if dataset is None:
        return list(range(len(structure))), [1] * len(structure)
    sites, copies = np.unique(dataset.equivalent_atoms, return_counts=True)
    return sites.tolist(), copies.tolist()


@lru_cache(maxsize=1)
def _tools() -> tuple[CrystalNN, dict[int, list[LocalStructOrderParams]]]:
    from pymatgen.analysis.local_env import CrystalNN, LocalStructOrderParams

    motifs = {
        n: [LocalStructOrderParams([kind], parameters=[settings]) for kind, settings in kinds]
        for n, kinds in MOTIFS.items()
    }
    return CrystalNN(), motifs
