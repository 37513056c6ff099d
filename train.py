"""Train an agent from the command line: `python train.py --help`."""

import sys

if __name__ == "__main__":
    try:
        from mbrl_agent.run.start import load

        main = load()
    except ImportError as error:
        sys.stderr.write(f"train.py: error: {' '.join(str(error).split())}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("train.py: interrupted before the run began\n")
        sys.exit(130)
    sys.exit(main(True))
