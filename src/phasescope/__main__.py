"""``python -m phasescope``: the same commands as ``phasescope``."""

from phasescope.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
