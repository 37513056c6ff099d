"""Train an agent from the command line: `python train.py --help`."""

import sys
from importlib.util import find_spec
from pathlib import Path

import gymnasium

ENVS = Path(__file__).resolve().parent / "envs"


def register_environments() -> None:
    """Import our `envs`, and no other package of that common name.

    Raises:
        ImportError: Another one comes first on the path, or lies in the place of ours.
    """
    spec = find_spec("envs")
    if spec is None or spec.origin is None or Path(spec.origin).resolve().parent != ENVS:
        found = spec and (spec.origin or list(spec.submodule_search_locations or []))
        raise ImportError(f"'envs' is {found}, not {ENVS}: run from another directory or clean PYTHONPATH")
    import envs  # noqa: F401

    if "CartPoleSwingUp-v0" not in gymnasium.registry:
        raise ImportError(f"{ENVS} belongs to another package now: reinstall mbrl_agent")


if __name__ == "__main__":
    try:
        register_environments()
        from mbrl_agent.run.cli import main
    except ImportError as error:
        sys.stderr.write(f"train.py: error: {' '.join(str(error).split())}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("train.py: interrupted before the run began\n")
        sys.exit(130)
    sys.exit(main(program_ends=True))
