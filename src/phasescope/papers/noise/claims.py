"""One table: what the paper states, what its settings leave unknown, and what survives the nulls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from phasescope.studies.check import Check
from phasescope.studies.contract import Table

COLUMNS = ("the paper states", "its settings leave unknown", "what survives the nulls here")


def claims_table(checks: Sequence[Check]) -> Table:
    """Return the claims of arXiv:2301.08530 in three columns, with the numbers of this run in the third."""
    by_id = {check.id.removeprefix("sizes/"): check for check in checks}
    return Table("What is claimed, what is left open, what survives", COLUMNS, _rows(by_id))


def _rows(found: Mapping[str, Check]) -> list[list[str]]:
    def said(name: str) -> str:
        check = found[name]
        return f"{check.measured} ({check.verdict})"

    return [
        [
            "The inputs are white: beta 0.002, spread 0.116.",
            "Length of the series, windows, estimator. White noise of 500 words scatters by 0.117 in windows "
            "of 10 to 125.",
            f"beta of the input {said('input-white')}.",
        ],
        [
            "h is near 1/f noise: beta 0.833, spread 0.132.",
            "Width, embedding, vocabulary, padding, optimiser and epochs; whether the spread is over "
            "neurons, reviews or both.",
            f"beta {said('hidden')}, spread {said('hidden-spread')}. Of it remain with shuffled words "
            f"{said('shuffled')}, with white noise as input {said('noise-input')}, untrained "
            f"{said('untrained')}. Series that exclude short memory: {said('short-memory')}; that exclude "
            f"one power law: {said('straight')}. With the state carried on, beta in longer windows is larger "
            f"by {said('long-continues')}; there short memory is excluded by {said('long-short-memory')}, "
            f"one power law by {said('long-straight')}. In brackets, what becomes of the claim.",
        ],
        [
            "Internal activations have smaller exponents than external ones.",
            "Which quantities count as internal, and the sizes of the differences.",
            "beta(h) less that of: input gate "
            f"{said('internal-input-gate')}, forget gate {said('internal-forget-gate')}, output gate "
            f"{said('internal-output-gate')}, candidate {said('internal-candidate')}, cell "
            f"{said('internal-cell')}. Share of it that saturation explains: {said('saturation')}.",
        ],
        [
            "With more neurons than the task needs, exponents shift towards white noise, as many neurons "
            "show little fluctuation.",
            "The widths, and what counts as little fluctuation.",
            f"Fall for each doubling {said('falls-with-size')}; slope of the units in use "
            f"{said('used-keep')}; rank correlation of a unit's exponent with its movement "
            f"{said('idle-are-white')}.",
        ],
        [
            "1/f noise is a signature of optimal learning.",
            "Epochs and losses at which exponents were taken.",
            f"Rise by training {said('rises-by-training')}; share of networks whose exponent is closest to 1 "
            f"at the best epoch, beyond chance {said('closest-at-best-epoch')}.",
        ],
        [
            "Exponents are smaller in magnitude during a task than at rest (v1 alone).",
            "What rest is.",
            f"With zero input after the words: {said('rest-and-task')}.",
        ],
    ]
