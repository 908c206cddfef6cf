"""One instrument on one case, with what several checks need."""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasescope.instruments.contract import Instrument
from phasescope.testing.cases import Case

if TYPE_CHECKING:
    import xarray as xr


class Trial:
    """One instrument on one case; the case's model is built anew for every use."""

    def __init__(self, instrument: Instrument, case: Case) -> None:
        self.instrument = instrument
        self.case = case

    def build(self) -> tuple[Any, Any]:
        """Return a fresh model and batch."""
        return self.case.factory()

    def measure(self, **options: Any) -> xr.Dataset:
        """Return a measurement of a fresh model and batch."""
        model, batch = self.build()
        return self.instrument.measure(model, batch, **options)

    @cached_property
    def refusal(self) -> str:
        """Why the instrument does not measure this case; "" where it does."""
        model, batch = self.build()
        return self.instrument.applies(model, batch)

    @cached_property
    def dataset(self) -> xr.Dataset:
        """The measurement with default options, made once."""
        return self.measure()

    @cached_property
    def stored(self) -> xr.Dataset:
        """That measurement after a round trip through a NetCDF-4 file."""
        import xarray as xr

        objects = [name for name, variable in self.dataset.variables.items() if variable.dtype.kind == "O"]
        require(not objects, f"variables of object dtype: {objects}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "measurement.nc"
            self.dataset.to_netcdf(path, engine="h5netcdf")
            return xr.load_dataset(path, engine="h5netcdf")


def require(holds: bool, message: str) -> None:
    """Raise ``AssertionError`` with the message unless the promise holds; works under ``python -O`` too."""
    if not holds:
        raise AssertionError(message)
