"""Import matplotlib, whatever backend the user's environment asks for.

A process that was started from a notebook inherits the notebook's MPLBACKEND. Where that backend is not
installed, the import of matplotlib itself fails, and Stable-Baselines3 imports it. We draw on Agg canvases
and need no backend at all. Importing this module imports matplotlib.
"""

from __future__ import annotations

import contextlib
import os
import sys


def import_matplotlib() -> None:
    """Import matplotlib, with the backend that MPLBACKEND names if there is one of that name."""
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with contextlib.suppress(ValueError):  # no backend of that name: the user's own plots choose another
            matplotlib.rcParams["backend"] = backend


import_matplotlib()
