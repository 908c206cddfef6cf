"""Training: a recorder for a run of the user's own, and how stable training is at this moment.

``recorder`` records within a budget, ``looks`` asks the other instruments, ``record`` writes and reads the
file, ``writers`` pass rows on to trackers, and ``callbacks`` carry it into Lightning and transformers.
``instrument`` is the instrument of ``inspect``: ``given`` sorts what the user gave, ``measure`` computes,
``findings`` says what it means, ``figure`` draws.
"""

from phasescope.instruments.training.callbacks import lightning_callback, transformers_callback
from phasescope.instruments.training.instrument import TrainingStability
from phasescope.instruments.training.record import read_record, recorded_exponent
from phasescope.instruments.training.recorder import TrainingRecorder

__all__ = [
    "TrainingRecorder",
    "TrainingStability",
    "lightning_callback",
    "read_record",
    "recorded_exponent",
    "transformers_callback",
]
