"""Occupancies that say something else than shares of a site: of full alternatives, and by multiplicity."""

from __future__ import annotations

from collections.abc import Sequence

from crystal_core.files.cif_atoms import Atom
from crystal_core.files.cif_sites import Sites
from crystal_core.files.cif_text import Block
from crystal_core.files.occupancies import MOST_ROUNDING
from crystal_core.structures import printable

ASSEMBLY, GROUP = "_atom_site_disorder_assembly", "_atom_site_disorder_group"
SAME_SHARE = 0.03  # relative; 1/48 is written 0.021
_ORDERED = ("", "0")  # groups of atoms that are in every alternative


def full_alternatives(block: Block, atoms: Sequence[Atom]) -> list[str]:
    """A note on the first assembly with full alternatives; empty if there is none.

    Of each group its least filled atom counts. Groups that are filled in part are left alone, because files
    may number those of independent molecules on without naming an assembly. A negative group of SHELX lies
    about a symmetry element: its own images are the alternatives, so that it fills one half at most.
    """
    groups, assemblies = block.column(GROUP), block.column(ASSEMBLY)
    alternatives: dict[str, dict[str, Atom]] = {}
    for atom in atoms if groups else ():
        if (group := groups[atom.row]) not in _ORDERED:
            of_assembly = alternatives.setdefault(assemblies[atom.row] if assemblies else "", {})
            of_assembly[group] = min(of_assembly.get(group, atom), atom, key=lambda one: one.share)
    for of_assembly in alternatives.values():
        full = {group: atom for group, atom in of_assembly.items() if atom.share > 1 - MOST_ROUNDING}
        names = [printable(atom.label)[:20] for atom in full.values()]
        if len(full) > 1:
            what = (
                f"The file calls {' and '.join(names[:3])} alternatives (disorder groups {', '.join(full)})"
            )
            return [
                f"{what}, but all of them are fully occupied and in the crystal. Correct the occupancies."
            ]
        for group, atom in of_assembly.items():
            if group.startswith("-") and atom.share > (1 + MOST_ROUNDING) / 2:
                what = f"{printable(atom.label)[:20]} disordered about a symmetry element (group {group})"
                overlaps = "so that it overlaps with its images. Correct the occupancy."
                return [f"The file calls {what}, but gives it the occupancy {atom.share:g}, {overlaps}"]
    return []


def by_multiplicity(atoms: Sequence[Atom], sites: Sites) -> list[str]:
    """A note where every occupancy is the multiplicity of its site over that of the general position.

    Refinement programs such as FullProf hold them so. One value below 1 beside full atoms may be a vacancy.
    """
    totals: dict[tuple[float, ...], float] = {}
    orders: dict[tuple[float, ...], float] = {}
    for atom, n in zip(atoms, sites.multiplicities, strict=True):
        totals[atom.place] = totals.get(atom.place, 0.0) + atom.share
        orders[atom.place] = n / sites.n_operations
    special = {orders[place] for place in totals if orders[place] < 1}
    fits = all(abs(total / orders[place] - 1) <= SAME_SHARE for place, total in totals.items())
    if not fits or not special or (len(special) == 1 and len(set(orders.values())) > 1):
        return []
    ratio = "the multiplicity of its site over that of the general position"
    advice = "but is read as the share of the site. Divide each by that ratio."
    return [f"Every occupancy of the file is {ratio}, as FullProf has them, {advice}"]
