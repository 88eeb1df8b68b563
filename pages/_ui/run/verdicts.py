"""Verdicts on a generated crystal, each with its reason. Pure: no drawing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from crystal_core.chemistry.charges import MAX_BALANCED, balance_of, hint_of_metals
from crystal_core.chemistry.metals import all_metals
from crystal_core.drawing.style import symbol_of
from crystal_core.evaluation.symmetry import space_group_symbol
from crystal_core.evaluation.validity import charge_failure
from crystal_core.properties import fixed
from crystal_core.records import CrystalRecord, Novelty, published_above_hull
from crystal_core.reference.hull import measured_error
from crystal_core.reference.known_words import (
    KNOWN_ARRANGEMENT,
    difference_words,
    is_strained,
    known_word,
    lengths_words,
)
from pages._ui.crystal.typeset import charge_text, formula_text, group_text
from pages._ui.run.cohesion import cohesion
from pages._ui.run.verdict import Tone, Verdict

NEW = "new"
NEAR_HULL = 0.1  # eV/atom above the hull: hardly any synthesised compound lies higher


def verdicts(record: CrystalRecord, twins: Sequence[int] = ()) -> list[Verdict]:
    """Valid, charge-balanced, plausible, no isolated atoms, distinct, new, stable: in this order.

    Args:
        record: the crystal, with ``novelty`` where it was compared with known ones, and ``energies`` where it
            was relaxed.
        twins: numbers of the other crystals of its run that are the same structure.
    """
    return [
        _sound(record),
        charge_balance(record),
        _distances(record),
        cohesion(record),
        _distinct(twins),
        newness(record),
        stability(record),
    ]


def newness(record: CrystalRecord) -> Verdict:
    """Whether it is a known crystal, which one is nearest, and whether the model was trained on that.

    Open without a comparison.

    A candidate for a formula (it has a ``z``) is never called new: the set holds a part of what is known.
    """
    novelty = record.get("novelty")
    if not novelty:
        return Verdict("open", "not compared", "It was not compared with known crystals.")
    nearest, among = nearest_words(novelty), novelty.get("reference", "known crystals")
    if not novelty["known"]:
        near = "nearest arrangement, of other elements:" if _is_of_others(record) else "the nearest is"
        nearest_text = f"{near} {nearest}" if nearest else "nothing of a comparable composition is known"
        if novelty.get("rmsd") is not None and novelty.get("volume_ratio"):
            nearest_text = f"it has the arrangement of {nearest}, but {difference_words(novelty)}"
        missing = (
            f"It matches no crystal of the reference set ({among}); "
            f"{nearest_text}.{by_distances_words(record)}"
        )
        if (word := unmatched_word(record)) == NEW:
            # an invalid structure is trivially new
            tone: Tone = "good" if is_credible(record) else "open"
            return Verdict(tone, word, missing)
        known = (
            "It comes from a known arrangement of this formula (prototype table). "
            if _is_of_known(record)
            else ""
        )
        more = "" if known else ", so it may still be a known crystal"
        return Verdict("open", word, f"{known}{missing} The set holds a part of the known crystals{more}.")
    rmsd = (
        f", RMSD {novelty['rmsd']:.3f} of the mean atomic spacing" if novelty.get("rmsd") is not None else ""
    )
    trained = training_words(record)
    theirs, ours = novelty.get("nearest_space_group"), record.get("space_group")
    match = f"It has the arrangement of {nearest}" if is_strained(novelty) else f"It is {nearest}"
    if theirs and ours and theirs != ours["number"]:
        known_group, own_group = group_text(space_group_symbol(theirs)), group_text(ours["symbol"])
        match = f"Same arrangement as {novelty['nearest_id']} ({known_group}); this cell is {own_group}"
    lengths = f"; {words}" if (words := lengths_words(novelty)) else ""
    return Verdict(
        "known",
        known_word(novelty),
        f"{match}{rmsd}{lengths}.{published_words(record)}{by_distances_words(record)}{trained}",
    )


def _novelty(record: CrystalRecord) -> Mapping[str, Any]:
    """The outcome of the comparison with known crystals; empty before it."""
    return record.get("novelty") or {}


def published_words(record: CrystalRecord) -> str:
    """A sentence on the published energy of the known crystal that a record is; empty where there is none."""
    above = published_above_hull(record)
    return "" if above is None else f" Its published energy above the hull is {fixed(above, 3)} eV/atom."


def by_distances(record: CrystalRecord) -> bool:
    """Whether only atom distances were compared, as in versions without cells of known crystals."""
    return _novelty(record).get("method") == "distances"


def by_distances_words(record: CrystalRecord) -> str:
    """A sentence on how far that can be trusted; empty where the cells were compared."""
    if not by_distances(record):
        return ""
    return (
        " Compared by distances only (earlier version), "
        "which misses nearly half of the equal crystals. Run it again."
    )


def unmatched_word(record: CrystalRecord) -> str:
    """The badge of a crystal that matches nothing in the reference set.

    A refined prototype may have become another arrangement.
    """
    if record.get("origin") == "prototype" and _is_of_known(record):
        return KNOWN_ARRANGEMENT
    return "not in the reference set" if "z" in record else NEW


def _is_of_known(record: CrystalRecord) -> bool:
    """Whether it comes from a prototype of its own composition."""
    return record["provenance"].get("prototype", {}).get("distance") == 0


def was_trained_on(record: CrystalRecord) -> bool:
    """Whether the model, or the one it began from, saw this known crystal in training."""
    novelty = _novelty(record)
    model = str(record.get("provenance", {}).get("model", ""))
    return bool(novelty.get("known")) and model.startswith(tuple(novelty.get("training_of") or ()))


def training_words(record: CrystalRecord) -> str:
    """A sentence where the known crystal that it is was seen in training; else empty."""
    if not was_trained_on(record):
        return ""
    return " The training set of this model, or of the one it began from, contains it."


def stability(record: CrystalRecord) -> Verdict:
    """The energy against the known compounds, less the measured bias of the potential.

    Open before it is known.
    """
    energies, relaxation = record.get("energies"), record.get("relaxation", {})
    if not energies:
        if "error" in relaxation:
            return Verdict("bad", "cannot be relaxed", relaxation["error"])
        return Verdict(
            "open",
            "stability unknown",
            "Not relaxed yet; relaxing estimates the energy above the hull.",
        )
    above, error = energies["e_above_hull_ev"], energies["e_above_hull_error_ev"]
    measured = measured_error("chgnet") or {"bias_ev": 0.0, "spread_ev": 0.0}
    # an unrelaxed cell has at least the error of a relaxed one
    margin = measured["spread_ev"] if error is None else error
    known = bool(_novelty(record).get("known"))
    bias = measured["sets"]["known"]["bias_ev"] if known and "sets" in measured else measured["bias_ev"]
    if above is None:
        return Verdict("open", "stability unknown", energies["note"])
    products = " + ".join(
        f"{100 * share:.0f} % {formula_text(name)}" for name, share in energies["decomposition"].items()
    )
    against, end = products, "it is predicted to decompose into them"
    if _is_of_itself(record):
        against, end = "a known form of this formula", "that form is lower in energy"
    error_text = f" ± {error:.3f}" if error else ""
    usual = f", on average {abs(bias):.2f} too {'low' if bias < 0 else 'high'}" if abs(bias) >= 0.005 else ""
    place = f"{fixed(above, 3, signed=True)}{error_text} eV/atom against {against} (ML estimate{usual})"
    if above - bias <= margin:
        return Verdict(
            "good",
            "may be stable",
            f"{place}: on the hull of known compounds, within the error of the estimate.",
        )
    if above - bias <= NEAR_HULL + margin:
        return Verdict(
            "open",
            "near the hull",
            f"{place}: compounds this far above the hull are sometimes synthesised.",
        )
    return Verdict("bad", "likely unstable", f"{place}: {end}.")


def _is_of_itself(record: CrystalRecord) -> bool:
    """Whether all that it would decompose into is a form of its own formula."""
    from pymatgen.core import Composition

    if not record.get("formula"):
        return False
    own = Composition(record["formula"]).reduced_composition
    return all(Composition(name).reduced_composition == own for name in record["energies"]["decomposition"])


def charge_balance(record: CrystalRecord) -> Verdict:
    """SMACT's published test of a record's ``atomic_numbers``, and what is known beyond it.

    Open where the two differ.
    """
    counts = tuple(sorted((symbol_of(z), n) for z, n in Counter(record["atomic_numbers"]).items()))
    balance = balance_of(counts)
    if not record["validity"]["composition"]:
        reason = charge_text(f"It {charge_failure(counts)}")
        if balance is not None:
            return Verdict(
                "open", "mixed valence" if "valence" in balance.how else "balances otherwise", reason
            )
        return Verdict("open" if hint_of_metals(counts) else "bad", "not charge-balanced", reason)
    if balance is not None:
        return Verdict(
            "good", "charge-balanced", charge_text(f"It passes SMACT's test and balances {balance.words()}.")
        )
    if len(counts) == 1 or all_metals(symbol for symbol, _ in counts):
        return Verdict("good", "charge-balanced", "An element or an alloy has no charges to balance.")
    if len(counts) > MAX_BALANCED:
        return Verdict(
            "good", "charge-balanced", "It passes SMACT's test: oxidation states of its list add up to zero."
        )
    return Verdict(
        "open",
        "uncommon charges",
        "It passes SMACT's test of charge balance, but balances only with uncommon oxidation states.",
    )


def is_credible(record: CrystalRecord) -> bool:
    """Whether cell and charges are sound.

    Valid by the published checks, or failing SMACT's test alone without being unbalanced.
    """
    return bool(record["validity"]["structure"]) and (
        bool(record["validity"]["composition"]) or charge_balance(record).tone != "bad"
    )


def objection(record: CrystalRecord, *, several: bool = False) -> str:
    """Why it is not chemically sensible although valid, in two or three words; else empty.

    Args:
        several: more than one element was requested.
    """
    if not record["validity"]["plausible"]:
        return "with implausible distances"
    if cohesion(record).tone == "bad":
        return "with isolated atoms"
    return "of one element only" if several and len(set(record["atomic_numbers"])) == 1 else ""


def validity_reasons(record: CrystalRecord) -> list[str]:
    """The reasons of the checks as they are worded today: a run keeps those of its day."""
    reasons = list(record["validity"]["reasons"])
    # that of the charges comes last
    return reasons if record["validity"]["composition"] else [*reasons[:-1], charge_balance(record).reason]


def structure_word(*, is_valid: bool) -> str:
    """The badge of the published check of a structure."""
    return "valid structure" if is_valid else "invalid structure"


def distances_word(*, is_plausible: bool) -> str:
    """The badge of the check against covalent radii."""
    return "plausible distances" if is_plausible else "implausible distances"


def _sound(record: CrystalRecord) -> Verdict:
    if record["validity"]["structure"]:
        reason = "No two atoms are closer than 0.5 Å, and the cell has a volume."
        return Verdict("good", structure_word(is_valid=True), reason)
    return Verdict("bad", structure_word(is_valid=False), _reasons(record)[0])


def _distances(record: CrystalRecord) -> Verdict:
    if record["validity"]["plausible"]:
        return Verdict(
            "good",
            distances_word(is_plausible=True),
            "No distance is below 0.7 × the sum of the covalent radii.",
        )
    return Verdict("bad", distances_word(is_plausible=False), _reasons(record)[0])


def _distinct(twins: Sequence[int]) -> Verdict:
    if not twins:
        return Verdict("good", "distinct", "No other crystal of this run is the same structure.")
    names = ", ".join(map(str, twins))
    return Verdict(
        "open",
        f"made {len(twins) + 1} times",
        f"The same structure as crystal{'s' if len(twins) > 1 else ''} {names} of this run.",
    )


def _is_of_others(record: CrystalRecord) -> bool:
    """Whether the nearest known crystal shares fewer than two elements with it; with an element, none."""
    from pymatgen.core import Composition

    nearest = _novelty(record).get("nearest_formula")
    if not nearest or "formula" not in record:
        return False
    own = set(Composition(record["formula"]))
    return len(own & set(Composition(nearest))) < min(2, len(own))


def nearest_words(novelty: Novelty) -> str:
    """Id, formula and space group of the nearest known crystal; empty where there is none."""
    if not novelty.get("nearest_id"):
        return ""
    words = [formula_text(novelty["nearest_formula"])] if novelty.get("nearest_formula") else []
    words += [f"space group {novelty['nearest_space_group']}"] if novelty.get("nearest_space_group") else []
    return str(novelty["nearest_id"]) + (f" ({', '.join(words)})" if words else "")


def _reasons(record: CrystalRecord) -> Sequence[str]:
    return record["validity"]["reasons"] or ["The check gave no reason."]
