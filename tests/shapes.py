"""The shapes that signatures of the core state, checked in every call while tests run.

The core imports jaxtyping for type checkers alone, so that users pay nothing. Here an import hook gives every
function and every dataclass whose annotations hold such a shape a wrapper that compares arguments and result
with it; a name such as "atoms" means one number throughout a call.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
import types
from dataclasses import fields, is_dataclass
from importlib.machinery import PathFinder, SourceFileLoader
from typing import get_args, get_origin

SHAPE = re.compile(r"\b(?:Float|Int|Bool)\[")


class ShapeError(TypeError):
    """An argument or a result has not the shape that the signature states."""


class _Names(dict):
    """The names of annotations: jaxtyping and arrays as they are, everything else admits any value."""

    def __missing__(self, name):
        return object

    @classmethod
    @functools.cache
    def make(cls):
        import jaxtyping
        import numpy as np
        import torch

        return cls(
            Float=jaxtyping.Float,
            Int=jaxtyping.Int,
            Bool=jaxtyping.Bool,
            Tensor=torch.Tensor,
            Array=np.ndarray,
            np=np,
            tuple=tuple,
        )


@functools.cache
def expected(annotation):
    """The type that an annotation names, or None where it states no shape at its top."""
    if not isinstance(annotation, str) or not SHAPE.search(annotation):
        return None
    try:
        hint = eval(annotation, {}, _Names.make())
    except TypeError:  # an iterator, a mapping or a function of arrays: what it yields has no one shape
        return None
    return None if hint is object else hint


def fits(value, wanted):
    """Whether a value has a type of :func:`expected`; inside ``jaxtyped`` names of dimensions are
    remembered.
    """
    if get_origin(wanted) is not tuple:
        return isinstance(value, wanted)
    parts = get_args(wanted)
    if len(parts) == 2 and parts[1] is ...:
        parts = (parts[0],) * len(value)
    return len(value) == len(parts) and all(map(fits, value, parts))


def checked(function, hints=None):
    """The function with its shapes compared in every call; the function itself where it states none."""
    hints = {
        name: wanted
        for name, annotation in (hints or getattr(function, "__annotations__", {})).items()
        if (wanted := expected(annotation)) is not None
    }
    if not hints:
        return function
    from jaxtyping import jaxtyped

    bind, result, error = inspect.signature(function).bind, hints.pop("return", None), ShapeError
    message, same = describe, fits

    def call(*args, **kwargs):
        value = function(*args, **kwargs)  # first: it may refuse in a sentence what has another shape
        given = bind(*args, **kwargs).arguments
        with jaxtyped("context"):
            for name, wanted in hints.items():
                if name in given and not same(given[name], wanted):
                    raise error(message(function, name, given[name], wanted))
            if result is not None and not same(value, result):
                raise error(message(function, "the result", value, result))
        return value

    # with the names of the module it belongs to: doctests are sought in functions of the module alone
    wrapped = types.FunctionType(
        call.__code__, function.__globals__, function.__name__, None, call.__closure__
    )
    wrapped.shapes = hints
    return functools.update_wrapper(wrapped, function)


def describe(function, name, value, wanted):
    shape = (
        [getattr(one, "shape", one) for one in value]
        if isinstance(value, tuple)
        else getattr(value, "shape", value)
    )
    return (
        f"{function.__module__}.{function.__qualname__}: {name} is no {wanted}: "
        f"{type(value).__name__} {shape}"
    )


def check_members(owner, module):
    for name, member in [*vars(owner).items()]:
        if isinstance(member, types.FunctionType) and member.__module__ == module:
            is_made = name == "__init__" and is_dataclass(owner)
            hints = {field.name: field.type for field in fields(owner)} if is_made else None
            setattr(owner, name, checked(member, hints))
        elif isinstance(member, (staticmethod, classmethod)):
            setattr(owner, name, type(member)(checked(member.__func__)))
        elif isinstance(member, property):
            setattr(owner, name, property(checked(member.fget), member.fset, member.fdel, member.__doc__))
        elif isinstance(member, type) and member.__module__ == module and isinstance(owner, types.ModuleType):
            check_members(member, module)


class Checking(SourceFileLoader):
    def exec_module(self, module):
        super().exec_module(module)
        check_members(module, module.__name__)


class Shapes:
    """The import hook."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        spec = PathFinder.find_spec(name, path) if name.startswith("crystal_core.") else None
        if spec and isinstance(spec.loader, SourceFileLoader):
            spec.loader = Checking(spec.loader.name, spec.loader.path)
            return spec
        return None


def install():
    """Check the modules of the core that are imported from now on."""
    if Shapes not in sys.meta_path:
        sys.meta_path.insert(0, Shapes)
