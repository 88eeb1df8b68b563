"""Conditions on crystals for models with a prompt, and how such a model writes its drafts. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from crystal_core.checks import check_choice, check_number, check_whole
from crystal_core.errors import RequestError

if TYPE_CHECKING:
    from crystal_core.cards import ModelCard

CrystalSystem = Literal[
    "triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic"
]
DraftStart = Literal["inject", "renoise", "none"]
# crystal system → its first and last space group
SPACE_GROUPS = {
    "triclinic": (1, 2),
    "monoclinic": (3, 15),
    "orthorhombic": (16, 74),
    "tetragonal": (75, 142),
    "trigonal": (143, 167),
    "hexagonal": (168, 194),
    "cubic": (195, 230),
}
FORMATION_ENERGY_RANGE = (-10.0, 10.0)  # eV/atom
BAND_GAP_RANGE = (0.0, 20.0)  # eV
E_ABOVE_HULL_RANGE = (0.0, 10.0)  # eV/atom
TEMPERATURE_RANGE = (0.05, 5.0)
MIN_TOP_P = 0.01
REFINER_STEPS = 1000  # of the diffusion that refines a draft
REWRITES = 3  # of a draft that lacks the requested space group or misses a target
PROPERTIES = ("formation_energy", "band_gap", "e_above_hull")  # conditions that are targets of a property
MOST_REWRITES = 20
WORDS = {
    "composition": "a formula",
    "elements": "elements that all occur",
    "contain": "elements that occur beside others",
    "any_of": "at least one of several elements",
    "space_group": "a space group",
    "crystal_system": "a crystal system",
    "formation_energy": "a formation energy",
    "band_gap": "a band gap",
    "e_above_hull": "an energy above the hull",
}


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Conditions of one crystal; empty or None leaves one open.

    Attributes:
        composition: atomic number → atoms in the cell.
        elements: the elements that the cell holds, in place of a composition.
        contain: elements that the cell holds beside others; not part of the prompt; the grammar ensures it.
        any_of: lists of elements, of each of which the cell holds at least one; as ``contain``.
        space_group: number. formation_energy: eV/atom. band_gap: eV. e_above_hull: eV/atom.
    """

    composition: Mapping[int, int] = field(default_factory=dict)
    elements: tuple[int, ...] = ()
    contain: tuple[int, ...] = ()
    any_of: tuple[tuple[int, ...], ...] = ()
    space_group: int | None = None
    formation_energy: float | None = None
    band_gap: float | None = None
    e_above_hull: float | None = None

    def __post_init__(self) -> None:
        if self.composition and self.elements:
            raise RequestError("Give a composition or a set of elements, not both.")
        if (self.contain or self.any_of) and (self.composition or self.elements):
            raise RequestError("A composition or a set of elements already says what the cell contains.")
        if not all(self.any_of):
            raise RequestError("A list of elements of which one must occur is empty; name some.")
        named = (*self.composition, *self.elements, *self.contain, *(z for one in self.any_of for z in one))
        if not all(1 <= z <= 118 for z in named):
            raise RequestError("Atomic numbers must be between 1 (H) and 118 (Og).")
        if not all(n >= 1 for n in self.composition.values()):
            raise RequestError("A composition counts at least one atom of each of its elements.")
        check_whole("space_group", self.space_group, 1, 230, optional=True)

    @property
    def named(self) -> tuple[str, ...]:
        """Names of the conditions that are set."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) not in (None, (), {}))

    @property
    def targets(self) -> dict[str, float]:
        """The properties that are set, of :data:`PROPERTIES`."""
        return {name: value for name in PROPERTIES if (value := getattr(self, name)) is not None}

    @property
    def may_be_missed(self) -> bool:
        """Whether they name what no grammar can enforce: a space group or a property."""
        return self.space_group is not None or bool(self.targets)

    @property
    def n_atoms(self) -> int:
        """Atoms of the composition; 0 without one."""
        return sum(self.composition.values())


@dataclass(frozen=True, kw_only=True)
class DraftOptions:
    """Options of drafting and refinement; requests inherit these fields.

    Attributes:
        temperature, top_p: of sampling a token; None takes the card's.
        back_end: what writes: "tiny", "smollm2", a folder with a language model, or None for the card's.
        refiner: diffusion that refines the draft, "none" to leave it as written, or None for the card's.
        start: how the refiner begins: from the draft as it is, with noise added, or from noise alone;
            None is the card's.
        refine_from: step at which it begins, of :data:`REFINER_STEPS`; None is the card's.
        charge_balance: compositions pass SMACT's test of composition validity: a draft ends only where it
            does, and a diffusion model that hides and reveals types exchanges an element where it does not.
        rewrites: how often a draft is written again at most while it lacks the requested space group or
            misses a target; None takes :data:`REWRITES`.
    """

    temperature: float | None = None
    top_p: float | None = None
    back_end: str | None = None
    refiner: str | None = None
    start_draft: DraftStart | None = None
    refine_from: int | None = None
    charge_balance: bool = False
    rewrites: int | None = None

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, *TEMPERATURE_RANGE, optional=True)
        check_number("top_p", self.top_p, MIN_TOP_P, 1.0, optional=True)
        check_whole("tau (step of the refiner)", self.refine_from, 1, REFINER_STEPS, optional=True)
        check_whole("rewrites", self.rewrites, 0, MOST_REWRITES, optional=True)
        for name in ("back_end", "refiner"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and value.strip()):
                raise RequestError(f"{name} must be a name, not {value!r}.")
        if self.start_draft is not None:
            check_choice("start", self.start_draft, get_args(DraftStart))
        if not isinstance(self.charge_balance, bool):
            raise RequestError(f"charge_balance must be true or false, not {self.charge_balance!r}.")

    @property
    def most_rewrites(self) -> int:
        """How often a draft is written again at most."""
        return REWRITES if self.rewrites is None else self.rewrites

    @property
    def balance_used(self) -> dict[str, bool]:
        """Charge balance among the settings of a run; nothing where it is off."""
        return {"charge_balance": True} if self.charge_balance else {}

    def check_open_composition(self, given: str) -> None:
        """Raise RequestError where charge balance is on and ``given`` (e.g. "the formula") fixes atoms."""
        if self.charge_balance:
            raise RequestError(
                f"Charge balance chooses among compositions, and {given} already fixes the composition; "
                "leave charge balance out."
            )

    def check_no_rewrites(self, given: str) -> None:
        """Raise RequestError where rewrites are set; ``given`` (e.g. "a prediction") names no target."""
        if self.rewrites is not None:
            raise RequestError(
                f"Drafts are written again for a requested space group or property, and {given} names none; "
                "leave rewrites out."
            )

    @property
    def draft_fields(self) -> dict[str, Any]:
        """All fields of this class, to build another request with the same options."""
        return {f.name: getattr(self, f.name) for f in fields(DraftOptions)}

    @property
    def draft_values(self) -> dict[str, Any]:
        """The options that are set here, by name."""
        return {
            n: value for n, value in self.draft_fields.items() if value is not None and value is not False
        }


CARD_DRAFT = DraftOptions()


def check_properties(
    formation_energy: float | None, band_gap: float | None, e_above_hull: float | None
) -> None:
    """Raise RequestError unless each property is None or a number in its range, in eV or eV/atom."""
    check_number("formation_energy (eV/atom)", formation_energy, *FORMATION_ENERGY_RANGE, optional=True)
    check_number("band_gap (eV)", band_gap, *BAND_GAP_RANGE, optional=True)
    check_number("e_above_hull (eV/atom)", e_above_hull, *E_ABOVE_HULL_RANGE, optional=True)


def check_declared(card: ModelCard, conditions: tuple[str, ...], options: DraftOptions) -> None:
    """Check that a model can take these conditions and options.

    Args:
        conditions: names of :data:`WORDS`.

    Raises:
        RequestError: its card does not declare one of them.
    """
    known = (*card.conditions, *(("contain", "any_of") if card.writes_drafts else ()))
    missing = [WORDS[name] for name in conditions if name not in known]
    if missing:
        can = ", ".join(WORDS[name] for name in card.conditions)
        takes = f"it takes {can}" if can else "it takes none"
        raise RequestError(
            f"{card.name} does not take {' or '.join(missing)} ({takes}); "
            "leave it out or choose another model."
        )
    if options.charge_balance and not card.balances_charges:
        raise RequestError(
            f"{card.name} cannot keep compositions charge-balanced; leave charge balance out, or choose a "
            "language model or a model that hides and reveals atom types, such as kldm-dng-mp."
        )
    values = {name: value for name, value in options.draft_values.items() if name != "charge_balance"}
    if not card.writes_drafts and values:
        names = ", ".join(values).replace("start_draft", "start").replace("refine_from", "tau")
        raise RequestError(
            f"{card.name} writes no drafts with a language model, so {names} would change nothing; leave it "
            "out or choose another model."
        )
