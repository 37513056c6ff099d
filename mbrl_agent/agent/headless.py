"""Let matplotlib be imported, whatever backend the user's environment asks for.

A process that was started from a notebook inherits the notebook's MPLBACKEND. Where that backend is not
installed, the import of matplotlib itself fails, and older versions of Stable-Baselines3 import it. We draw
on Agg canvases and need no backend at all. Importing this module imports matplotlib where MPLBACKEND is set;
elsewhere nothing can fail, and whoever draws pays for the import.
"""

from __future__ import annotations

import contextlib
import os
import sys


def import_matplotlib() -> None:
    """Import matplotlib where MPLBACKEND is set, with that backend if there is one of that name."""
    if "matplotlib" in sys.modules or not os.environ.get("MPLBACKEND"):
        return
    backend = os.environ.pop("MPLBACKEND")
    try:
        import matplotlib
    finally:
        os.environ["MPLBACKEND"] = backend
    with contextlib.suppress(ValueError):  # no backend of that name: the user's own plots choose another
        matplotlib.rcParams["backend"] = backend


import_matplotlib()
