"""Files for :mod:`crystal_core.workflows.fuzz_files` to mutate: our crystals in every format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from crystal_core.files.writers import structure_to_text

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAGNETIC_CIF = """data_MnO
_cell_length_a 3.14
_cell_length_b 3.14
_cell_length_c 8.8
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_chemical_formula_sum 'Mn2 O2'
_cell_formula_units_Z 1
_space_group_magn.number_BNS 47.249
loop_
_space_group_symop_magn_operation.id
_space_group_symop_magn_operation.xyz
1 x,y,z,+1
2 -x,-y,z,+1
loop_
_space_group_symop_magn_centering.id
_space_group_symop_magn_centering.xyz
1 x,y,z,+1
2 x,y,z+1/2,-1
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Mn1 Mn 0 0 0 1
O1 O 0.5 0.5 0 1
loop_
_atom_site_moment.label
_atom_site_moment.crystalaxis_x
_atom_site_moment.crystalaxis_y
_atom_site_moment.crystalaxis_z
Mn1 0 0 4.5(1)
"""
MODULATED_CIF = """data_modulated
_cell_length_a 4.0
_cell_length_b 4.1
_cell_length_c 6.4
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_cell_modulation_dimension 1
_space_group_ssg_name 'Pmmm(00g)000'
loop_
_space_group_symop_ssg_id
_space_group_symop_ssg_operation_algebraic
1 x1,x2,x3,x4
2 -x1,-x2,-x3,-x4
loop_
_cell_wave_vector_seq_id
_cell_wave_vector_x
_cell_wave_vector_y
_cell_wave_vector_z
1 0 0 0.31
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_displace_modulation_flag
Sn1 Sn 0 0 0 yes
S1 S 0.5 0.5 0 yes
loop_
_atom_site_Fourier_wave_vector_seq_id
_atom_site_Fourier_wave_vector_x
1 0.31
"""
DISORDERED_CIF = """data_alloy
_cell_length_a 5.55(2)
_cell_length_b 5.55(2)
_cell_length_c 5.55(2)
_cell_angle_alpha 90.
_cell_angle_beta 90.
_cell_angle_gamma 90.
_symmetry_space_group_name_H-M 'F m -3 m'
_chemical_formula_sum 'Ag4 Br2 Cl2'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
_atom_site_U_iso_or_equiv
Ag1 Ag1+ 0 0 0 1.000(2) 0.011(1)
Br1 Br1- 0.5 0.5 0.5 0.5 0.02
Cl1 Cl1- 0.5 0.5 0.5 0.5 0.02
loop_
_geom_bond_atom_site_label_1
_geom_bond_atom_site_label_2
_geom_bond_distance
Ag1 Br1 2.775(4)
"""
SELECTIVE = """KBr selective
-290.0
6.6 0 0
0 6.6D0 0
0 0 6.6
K_sv Br
4 4
Selective dynamics
Direct
0 0 0 T T T
0 .5 .5 T T F
.5 0 .5 F F F
.5 .5 0 T T T
.5 .5 .5 T T T ! comment
.5 0 0 T T T
0 .5 0 T T T
0 0 .5 T T T

1.0E-3 0 0
0 1.0E-3 0
0 0 0
0 0 0
0 0 0
0 0 0
0 0 0
0 0 0
"""
XDATCAR = """CsCl
1.0
4.12 0 0
0 4.12 0
0 0 4.12
Cs Cl
1 1
Direct configuration= 1
0 0 0
.5 .5 .5
CsCl
1.0
4.2 0 0
0 4.2 0
0 0 4.2
Cs Cl
1 1
Direct configuration= 2
0 0 0.01
.5 .5 .49
"""
ODD_COLUMNS = "Properties=id:I:1:species:S:1:pos:R:3:forces:R:3:magmoms:R:1:move_mask:L:1"
ODD_XYZ = f"""2
config_type='a b' Lattice=[[4.12, 0, 0], [0, 4.12, 0], [0, 0, 4.12]] {ODD_COLUMNS} \
energy=-6.5 pbc="T T T" stress="0 0 0 0 0 0 0 0 0"
1 Cs 0 0 0 0.01 0 0 0.0 T
2 Cl 2.06 2.06 2.06 -0.01 0 0 1.5 F
2
Lattice="4.2 0 0 0 4.2 0 0 0 4.2" {ODD_COLUMNS} energy=-6.4 pbc=[T, T, T]
1 Cs 0 0 0 0.01 0 0 0.0 T
2 Cl 2.1 2.1 2.1 -0.01 0 0 1.5 F
"""
PDB = """HEADER    ROCK SALT
CRYST1    5.640    5.640    5.640  90.00  90.00  90.00 F m -3 m      4
SCALE1      0.177305  0.000000  0.000000        0.00000
SCALE2      0.000000  0.177305  0.000000        0.00000
SCALE3      0.000000  0.000000  0.177305        0.00000
MODEL        1
HETATM    1 NA   SAL A   1       0.000   0.000   0.000  1.00  0.00          NA1+
HETATM    2 CL   SAL A   1       2.820   2.820   2.820  1.00  0.00          CL1-
ENDMDL
MODEL        2
HETATM    1 NA   SAL A   1       0.000   0.000   0.000  1.00  0.00          NA1+
HETATM    2 CL   SAL A   1       2.820   2.820   2.820  1.00  0.00          CL1-
ENDMDL
END
"""
MMCIF = """data_1ABC
_cell.length_a 30
_cell.length_b 30
_cell.length_c 30
loop_
_atom_site.group_PDB
_atom_site.id
_atom_site.type_symbol
_atom_site.Cartn_x
_atom_site.Cartn_y
_atom_site.Cartn_z
ATOM 1 N 1.0 2.0 3.0
"""
_CELL = [[4.12, 0.0, 0.0], [0.0, 4.12, 0.0], [0.0, 0.0, 4.12]]
_OPTIMADE = {
    "data": [
        {
            "id": "1",
            "type": "structures",
            "attributes": {
                "chemical_formula_reduced": "ClCs",
                "nsites": 2,
                "lattice_vectors": _CELL,
                "dimension_types": [1, 1, 1],
                "species": [
                    {"name": "Cs", "chemical_symbols": ["Cs"], "concentration": [1.0]},
                    {"name": "Cl", "chemical_symbols": ["Cl", "vacancy"], "concentration": [0.9, 0.1]},
                ],
                "species_at_sites": ["Cs", "Cl"],
                "cartesian_site_positions": [[0, 0, 0], [2.06, 2.06, 2.06]],
            },
        }
    ],
    "meta": {"data_returned": 1},
}
_ASE = {
    "1": {
        "cell": {"array": {"__ndarray__": [[3, 3], "float64", [x for row in _CELL for x in row]]}},
        "numbers": {"__ndarray__": [[2], "int64", [55, 17]]},
        "positions": {"__ndarray__": [[2, 3], "float64", [0, 0, 0, 2.06, 2.06, 2.06]]},
        "pbc": [True, True, True],
        "forces": [[0, 0, 0.1], [0, 0, -0.1]],
    },
    "ids": [1],
    "nextid": 2,
}
_MMJSON = {
    "data_1ABC": {
        "atom_site": {"id": [1], "type_symbol": ["N"], "Cartn_x": [1.0], "Cartn_y": [2.0], "Cartn_z": [3]}
    }
}


def own_corpus() -> dict[str, str]:
    """Name → text: crystals of several systems in every format, and one file of each dialect."""
    texts: dict[str, str] = {}
    documents: list[Any] = []
    for structure in _crystals():
        name = structure.composition.reduced_formula
        for fmt in ("cif", "cif-symmetrised", "poscar", "extxyz", "json"):
            texts[f"{name}.{fmt}"] = structure_to_text(structure, fmt)
        structure.add_site_property("magmom", [0.5 * k for k in range(len(structure))])
        documents.append({"material_id": f"mp-{len(documents)}", "structure": structure.as_dict()})
    return texts | {
        "magnetic.cif": MAGNETIC_CIF,
        "modulated.cif": MODULATED_CIF,
        "disordered.cif": DISORDERED_CIF,
        "several.cif": MAGNETIC_CIF + DISORDERED_CIF,
        "macromolecule.cif": MMCIF,
        "selective.poscar": SELECTIVE,
        "path.xdatcar": XDATCAR,
        "odd.extxyz": ODD_XYZ,
        "models.pdb": PDB,
        "optimade.json": json.dumps(_OPTIMADE, indent=1),
        "ase.json": json.dumps(_ASE),
        "documents.json": json.dumps({"data": documents}, indent=1),
        "documents.jsonl": "\n".join(map(json.dumps, [*documents, _ASE["1"], _OPTIMADE])),
        "macromolecule.json": json.dumps(_MMJSON),
    }


def _crystals() -> Iterator[Structure]:
    from pymatgen.core import Lattice, Structure

    rutile, spinel = Lattice.tetragonal(4.6, 2.96), Lattice.cubic(8.08)
    yield Structure.from_spacegroup("P4_2/mnm", rutile, ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]])
    yield Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    yield Structure.from_spacegroup(
        "P2_1/c",
        Lattice.monoclinic(5.15, 5.21, 5.32, 99.2),
        ["Zr", "O", "O"],
        [[0.2754, 0.0395, 0.2083], [0.07, 0.3317, 0.3447], [0.4496, 0.7569, 0.4792]],
    )
    yield Structure.from_spacegroup(
        "Fd-3m", spinel, ["Mg", "Al", "O"], [[0, 0, 0], [0.625, 0.625, 0.625], [0.3876, 0.3876, 0.3876]]
    )
    yield Structure.from_spacegroup(
        "R-3c", Lattice.hexagonal(4.99, 17.06), ["Ca", "C", "O"], [[0, 0, 0], [0, 0, 0.25], [0.257, 0, 0.25]]
    )
