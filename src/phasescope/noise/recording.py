"""What was recorded: one array for each layer and quantity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from phasescope.errors import InputError


@dataclass(frozen=True, repr=False)
class Recording(Mapping[tuple[str, str], np.ndarray]):
    """Activations in time: ``recording["lstm.l0", "cell"]`` has the shape (sequence, unit, time).

    Parameters
    ----------
    arrays : dict
        From layer and quantity to an array; NaN after the end of a sequence.
    lengths : ndarray of shape (sequence,)
        Number of time steps of each sequence, in the order of the batch.
    mismatch : dict
        For each recurrent layer the largest difference between the hidden state that follows from the gates
        and the hidden state of the module itself.
    skipped : dict
        Why a layer was not recorded.
    notes : tuple of str
        What was changed or noticed.
    on_disk : bool
        Whether the arrays are mapped files, which vanish with the recording.
    """

    arrays: dict[tuple[str, str], np.ndarray]
    lengths: np.ndarray
    mismatch: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    on_disk: bool = False

    @property
    def layers(self) -> list[str]:
        """Names of the layers, in the order of the calls."""
        return list(dict.fromkeys(layer for layer, _ in self.arrays))

    def quantities(self, layer: str) -> list[str]:
        """Return the names of what was recorded of a layer.

        Parameters
        ----------
        layer : str
            Its name; there is nothing of a layer that was not recorded.
        """
        return [quantity for name, quantity in self.arrays if name == layer]

    def series(self, layer: str, quantity: str, *, length: int | None = None, discard: int = 0) -> np.ndarray:
        """Return series of equal length, (sequence, unit, time), from the sequences that are long enough.

        Parameters
        ----------
        layer, quantity : str
            What to return.
        length : int, optional
            Number of time steps; by default as many as the shortest sequence has.
        discard : int
            Number of time steps left out at the beginning, where the state still remembers its start.

        Raises
        ------
        InputError
            If no sequence is that long.
        """
        values = self[layer, quantity]
        lengths = np.minimum(self.lengths, values.shape[-1])
        length = int(lengths.min()) - discard if length is None else length
        enough = np.flatnonzero(lengths >= discard + length)
        if length < 1 or discard < 0 or not len(enough):
            raise InputError(
                f"length={length} after discard={discard}, and the sequences have {int(lengths.min())} to "
                f"{int(lengths.max())} time steps.",
                "Ask for a shorter series, or record longer sequences.",
            )
        return values[enough, :, discard : discard + length]

    def __getitem__(self, key: tuple[str, str]) -> np.ndarray:
        if key in self.arrays:
            return self.arrays[key]
        known = ", ".join(f"{layer} {quantity}" for layer, quantity in self.arrays)
        raise KeyError(f"{key!r} was not recorded; recorded: {known}")

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def __repr__(self) -> str:
        place = "on disk" if self.on_disk else "in memory"
        size = sum(array.nbytes for array in self.arrays.values()) / 1e6
        lines = [
            f"Recording of {len(self.lengths)} sequences of {self.lengths.min()} to {self.lengths.max()} "
            f"time steps ({size:.1f} MB {place})"
        ]
        for layer in self.layers:
            parts = [f"{q} ({self.arrays[layer, q].shape[1]})" for q in self.quantities(layer)]
            lines.append(f"  {layer}: {', '.join(parts)}")
        return "\n".join(lines)
