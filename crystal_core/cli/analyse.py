"""``crystal-core analyse``: what can be said about a structure without any model."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystal_core.chemistry.formula_text import formula_of
from crystal_core.cli import options
from crystal_core.cli._files import make_output_folder, read_files
from crystal_core.cli._run import command, emit, error_line, sentence_of
from crystal_core.errors import RequestError
from crystal_core.records import published_above_hull
from crystal_core.reference.known_words import difference_words, known_word, lengths_words

if TYPE_CHECKING:
    from pymatgen.core import Structure

NOT_JUDGED = "Not judged, because sites are shared or partly occupied."


@command
def analyse(
    files: Annotated[list[Path], typer.Argument(help="CIF, POSCAR, extended XYZ, PDB or JSON files.")],
    wavelength: Annotated[str, typer.Option(help="CuKa, MoKa, CoKa, FeKa, AgKa, or a number in Å.")] = "CuKa",
    symprec: Annotated[float, typer.Option(min=1e-5, max=1.0, help="Tolerance of the site table, Å.")] = 0.1,
    orderings: Annotated[
        Path | None, typer.Option(help="Folder for ordered cells of crystals with shared sites.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Validity, symmetry, lattice, density, Wyckoff sites, diffraction peaks and nearest known crystal."""
    radiation = _radiation(wavelength)
    make_output_folder(orderings, trajectory=False, option="--orderings")
    rows: list[dict[str, Any]] = []
    taken: set[str] = set()
    items = read_files(files, purpose="view")
    if len(items) == 1 and isinstance(items[0][1], str):
        raise RequestError(items[0][1])
    for source, structure in items:
        if isinstance(structure, str):
            rows.append({"source": source, "error": structure})
            continue
        try:
            row = {"source": source} | describe(structure, radiation, symprec)
            if orderings is not None:
                row |= _write_orderings(structure, source, orderings, taken)
            rows.append(row)
        except Exception as error:
            if len(items) == 1 or os.environ.get("CRYSTAL_DEBUG"):
                raise
            logging.getLogger(__name__).debug("%s failed", source, exc_info=True)
            rows.append({"source": source, "error": sentence_of(error)})
    if json:
        emit({"rows": rows})
        return
    for row in rows:
        typer.echo(error_line(row["source"], row["error"]) if "error" in row else _sentence(row))


def _write_orderings(
    structure: Structure, source: str, folder: Path, taken: set[str]
) -> dict[str, list[str]]:
    """Write ordered cells of a crystal with shared sites; returns their file names, or why there are none.

    Args:
        taken: beginnings of names that other crystals of the call have; gains one.
    """
    from crystal_core.files.orderings import orderings
    from crystal_core.files.parse import is_mixed
    from crystal_core.files.records import unique_name
    from crystal_core.files.writers import structure_to_text
    from crystal_core.whole_files import write_whole

    occupancy = structure.properties.get("occupancy")
    if occupancy is None or not is_mixed(occupancy):
        return {}
    try:
        cells = orderings(structure, occupancy["shares"])
    except RequestError as error:
        return {"orderings": [], "notes": [*structure.properties.get("notes", []), str(error)]}
    file, _, place = source.partition(" #")
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in str(Path(file).with_suffix("")))
    stem = unique_name("-".join(filter(None, (plain.strip("-") or "crystal", place))), taken)
    taken.add(stem)
    names = [f"{stem}-ordering-{k}.cif" for k in range(1, len(cells) + 1)]
    for name, cell in zip(names, cells, strict=True):
        write_whole(folder / name, structure_to_text(cell, "cif"))
    return {"orderings": names}


def describe(structure: Structure, radiation: str | float = "CuKa", symprec: float = 0.1) -> dict[str, Any]:
    """One row of the answer: lengths in Å, angles and 2θ in degrees, density in g/cm3.

    A crystal with shared or partly occupied sites is described as the file has it and not judged.
    """
    from crystal_core.evaluation.symmetry import MAX_ANALYSED, site_table, space_group_curve
    from crystal_core.evaluation.validity import check_structure
    from crystal_core.files.parse import with_shares
    from crystal_core.files.records import space_group
    from crystal_core.reference.known import novelty

    limitation = structure.properties.get("limitation")
    occupancy = structure.properties.get("occupancy") or {}
    notes = list(structure.properties.get("notes", []))
    true = with_shares(structure, occupancy["shares"]) if occupancy else structure
    is_partial = not true.is_ordered
    verdict = check_structure(structure)
    lattice, small = structure.lattice, len(structure) <= MAX_ANALYSED
    searched = (is_partial or verdict.structure) and small
    row: dict[str, Any] = {
        "formula": occupancy.get("formula") or formula_of(structure.composition),
        "n_atoms": len(structure),
        "lattice": {
            "matrix": lattice.matrix.tolist(),
            "a": lattice.a,
            "b": lattice.b,
            "c": lattice.c,
            "alpha": lattice.alpha,
            "beta": lattice.beta,
            "gamma": lattice.gamma,
            "volume": lattice.volume,
        },
        "density": occupancy.get("density") or float(structure.density),
        "validity": {
            "structure": None if is_partial else verdict.structure,
            "composition": None if is_partial else verdict.composition,
            "plausible": None if is_partial else verdict.plausible,
            "reasons": [NOT_JUDGED] if is_partial else list(verdict.reasons),
        },
        "space_group": space_group(true, symprec) if searched else None,
        "space_group_by_tolerance": [
            {"symprec": entry["tolerance (Å)"], "symbol": entry["space group"], "number": entry["number"]}
            for entry in (space_group_curve(true) if searched else [])
        ],
        "sites": [
            {
                "element": s["element"],
                "wyckoff": s["Wyckoff"].lstrip("0123456789"),
                "frac_coords": [s["x"], s["y"], s["z"]],
            }
            for s in (site_table(true, symprec) if small else [])
        ],
        "peaks": _peaks(true, radiation) if searched else [],
        "nearest_known": novelty(structure)
        if verdict.structure and not limitation
        else None,  # not that of another crystal
    }
    if not small:
        large = (
            f"This cell has {len(structure)} sites; symmetry, "
            f"sites and pattern are given for up to {MAX_ANALYSED}."
        )
        limitation = f"{limitation} {large}" if limitation else large
    if occupancy:
        row["occupancy"] = occupancy["shares"]
        notes.append(f"The crystal has {occupancy['sites']}.")
    if limitation:
        row["limitation"] = limitation
    row["notes"] = notes
    return row


def _radiation(text: str) -> str | float:
    from crystal_core.evaluation.xrd import WAVELENGTH_RANGE, WAVELENGTHS

    if text in WAVELENGTHS:
        return text
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    least, most = WAVELENGTH_RANGE
    if not least <= value <= most:
        raise RequestError(
            f"--wavelength must be one of {', '.join(WAVELENGTHS)}, or {least:g} to {most:g} Å, not '{text}'."
        )
    return value


def _peaks(structure: Structure, radiation: str | float) -> list[dict[str, Any]]:
    from crystal_core.evaluation.xrd import pattern

    try:
        peaks = pattern(structure, radiation)
    except RequestError:  # an element without tabulated scattering
        return []
    return [
        {"two_theta": round(x, 4), "intensity": round(y, 3), "hkl": hkl}
        for x, y, hkl in zip(peaks.two_theta, peaks.intensity, peaks.hkl, strict=True)
    ]


def _sentence(row: dict[str, Any]) -> str:
    group = row["space_group"]["symbol"] if row["space_group"] else "no space group"
    verdict = "; ".join(row["validity"]["reasons"]) or "no objections"
    strongest = max(row["peaks"], key=lambda p: p["intensity"], default=None)
    peak = f", strongest peak at {strongest['two_theta']:.2f}°" if strongest else ""
    counted = "sites" if NOT_JUDGED in row["validity"]["reasons"] else "atoms"
    parts = [
        (
            f"{row['source']}: {row['formula']}, {row['n_atoms']} {counted}, {group}, "
            f"{row['density']:.2f} g/cm3{peak}"
        ),
        verdict,
        _known_sentence(row["nearest_known"]).removeprefix(". "),
        row.get("limitation", ""),
        *(f"Note: {note}" for note in row["notes"]),
    ]
    return ". ".join(part.rstrip(".") for part in parts if part) + ("." if len(row["notes"]) else "")


def _known_sentence(known_crystal: dict[str, Any] | None) -> str:
    if known_crystal is None:
        return ""
    if known_crystal["nearest_id"] is None:
        return f". Nothing alike is among {known_crystal['reference']}"
    if known_crystal["known"]:
        above = published_above_hull({"novelty": known_crystal})
        energy = "" if above is None else f"; published energy above the hull {above:.3f} eV/atom"
        known = known_word(known_crystal, "known as").capitalize()
        lengths = lengths_words(known_crystal)
        return (
            f". {known} {known_crystal['nearest_id']} (RMSD {known_crystal['rmsd']:.3f} (V/N)^(1/3){energy})"
            f"{f', {lengths}' if lengths else ''}"
        )
    if known_crystal["rmsd"] is not None:
        return (
            f". Not known: it has the arrangement of {known_crystal['nearest_id']} "
            f"({known_crystal['nearest_formula']}), but {difference_words(known_crystal)}"
        )
    return (
        f". Not known; nearest is {known_crystal['nearest_id']} ({known_crystal['nearest_formula']}) among "
        f"{known_crystal['reference']}"
    )
