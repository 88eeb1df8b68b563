"""The words of the compact token form and their ids, from a versioned file; needs nothing but Python.

A published id never changes: trained weights know the ids alone. A new word takes the next free id
and a new version.
"""

from __future__ import annotations

import json
from pathlib import Path

_FILE = json.loads(Path(__file__).with_name("vocabulary.json").read_text(encoding="utf-8"))
VERSION: int = _FILE["version"]
IDS: dict[str, int] = _FILE["ids"]
MAX_Z = 94
SIZE = 128  # rows of the embedding: room for words to come
PAD, BOS, EOS, MASK, SEP = (IDS[word] for word in ("<pad>", "<bos>", "<eos>", "<mask>", "<sep>"))
GEN, INFILL, FORMULA, ELEMENTS = (IDS[word] for word in ("<gen>", "<infill>", "<formula>", "<elements>"))
MINUS, DOT = IDS["-"], IDS["."]
DIGIT = IDS["0"]  # the id of digit d is DIGIT + d
ELEMENT = IDS["H"] - 1  # the id of an element is ELEMENT + atomic number
SYMBOLS = tuple(word for word, i in IDS.items() if ELEMENT < i <= ELEMENT + MAX_Z)
ATOMIC_NUMBERS = {symbol: i + 1 for i, symbol in enumerate(SYMBOLS)}
