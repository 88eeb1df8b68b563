"""The errors that a caller may want to tell apart.

Every message is a sentence: what was expected, what came, what to do.
"""


class CrystalCoreError(Exception):
    """Base of everything this package raises on purpose."""

    exit_code = 1


class RequestError(CrystalCoreError):
    """The request is wrong: an unknown element, an option out of range, an unreadable file."""

    exit_code = 2


class StructureParseError(RequestError):
    """A file or text could not be read as a crystal."""


class IncompatibleSampler(RequestError):
    """This sampler cannot drive this model, or these settings contradict each other."""


class RelaxationFailed(RequestError):
    """A potential cannot take this cell: atoms without neighbours, overlapping atoms, an unknown element."""


class CheckpointMissing(CrystalCoreError):
    """No checkpoint of that name is installed."""

    exit_code = 3


class CheckpointMismatch(CrystalCoreError):
    """A weight file does not fit its card: wrong hash, unknown or missing names."""


class MissingExtra(CrystalCoreError):
    """An optional package is needed; the message names the extra that brings it."""

    exit_code = 3


class StorageFault(CrystalCoreError):
    """The folder of runs cannot be used: full disk, read-only folder, locked or broken database."""


class MemoryFull(CrystalCoreError):
    """The memory of the device does not hold a batch."""


class TrainingDiverged(CrystalCoreError):
    """A loss or a weight became non-finite while training."""
