"""Make ``flower-network.json``, the trained network of the documentation; a few minutes of one core.

Run from the root of the repository: ``python docs/make_flower.py``.
"""

import json
import sys
from pathlib import Path

import torch

from phasescope.data import picture
from phasescope.report import save_explorer
from phasescope.synapses import PictureNet, fit_best

STEPS = 500


def main() -> None:
    torch.set_num_threads(1)
    flower = picture("flower")
    found = fit_best(
        flower,
        steps=STEPS,
        progress=lambda step, rmse: print(f"\r{step} {rmse:.4f}", end="", file=sys.stderr),
    )
    height, width = flower.values.shape[:2]
    data = found.best.net.to_dict() | {
        "height": height,
        "width": width,
        "picture": "flower of scikit-learn",
        "rmse": found.best.rmse,
        "rmse of seeds": {str(seed): error for seed, error in found.rmse.items()},
        "made": f"docs/make_flower.py: {STEPS} steps of Levenberg-Marquardt from {len(found.fits)} seeds",
    }
    Path(__file__).with_name("flower-network.json").write_text(json.dumps(data) + "\n")
    print(f"\n{found.rmse}")


def write_page() -> None:
    """Write the page of the stored network, which the documentation links to."""
    data = json.loads(Path(__file__).with_name("flower-network.json").read_text())
    page = Path(__file__).parent / "_static" / "explore-flower.html"
    net = PictureNet.from_dict(data)
    save_explorer(net, picture("flower").values, page, title="flower: phasescope", name="flower")


if __name__ == "__main__":
    main()
