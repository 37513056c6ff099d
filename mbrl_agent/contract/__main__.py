"""Run the suite on plug-ins: `python -m mbrl_agent.contract my_module [options of pytest]`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

USAGE = "usage: python -m mbrl_agent.contract MODULE[,MODULE...] [options of pytest]\n"


def main(argv: Sequence[str]) -> int:
    """Run the suite and return pytest's exit status; 2 for a mistake."""
    if not argv or argv[0].startswith("-"):
        sys.stderr.write(USAGE)
        return 0 if argv[:1] in (["-h"], ["--help"]) else 2
    from mbrl_agent import load_plugin

    try:
        for name in argv[0].split(","):
            load_plugin(name.strip())
        import pytest
    except (ValueError, TypeError) as error:
        sys.stderr.write(f"contract: error: {' '.join(str(error).split())}\n")
        return 2
    except ImportError:
        sys.stderr.write("contract: error: the suite needs pytest: pip install pytest\n")
        return 2
    os.environ["MBRL_AGENT_PLUGINS"] = argv[0]
    return int(pytest.main(["--tb=short", "--pyargs", "mbrl_agent.contract", *argv[1:]]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
