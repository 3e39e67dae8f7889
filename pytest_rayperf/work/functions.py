"""What is told of a Python function that was entered: its name, and whose it is."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from pathlib import Path
from types import CodeType, FrameType

_HERE = Path(__file__).resolve().parent
# What counts, here and where a pipeline asks for it: none of it is the pipeline's work.
_OWN = (str(_HERE) + os.sep, str(_HERE.parent / "counters.py"))
_INSTALLED = tuple(
    folder + os.sep
    for folder in {
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *site.getsitepackages(),
        site.getusersitepackages(),
        str(_HERE.parent),
    }
)
_SITE = {"site-packages", "dist-packages"}  # also another environment's, which a .pth file adds
# Where torch looks, for each operator under a dispatch mode and only there, what to do about it.
_DISPATCHING = str(Path("torch", "_library", "simple_registry.py"))


class Function:
    """A function that was entered, or entered one. Holds its code, or the identity could be another's."""

    __slots__ = ("code", "direct", "entries", "importing", "name", "own", "users")

    def __init__(self, code: CodeType, frame: FrameType) -> None:
        file = code.co_filename
        self.code = code
        self.name = f"{frame.f_globals.get('__name__', '?')}.{_qualified_name(code, frame)}"
        self.own = file.startswith(_OWN) or file.endswith(_DISPATCHING)
        self.users = not (file.startswith((*_INSTALLED, "<")) or _SITE.intersection(Path(file).parts))
        self.importing = file.startswith("<frozen importlib")  # an import statement is no call of the user's
        self.entries = 0
        self.direct = 0


def _qualified_name(code: CodeType, frame: FrameType) -> str:
    if sys.version_info >= (3, 11):
        return code.co_qualname
    if code.co_argcount and code.co_varnames[0] in ("self", "cls"):  # type: ignore[unreachable,unused-ignore]
        owner = frame.f_locals.get(code.co_varnames[0])
        for kind in (owner if isinstance(owner, type) else type(owner)).__mro__:
            method = kind.__dict__.get(code.co_name)
            if getattr(getattr(method, "__func__", method), "__code__", None) is code:
                return f"{kind.__qualname__}.{code.co_name}"
    return code.co_name
