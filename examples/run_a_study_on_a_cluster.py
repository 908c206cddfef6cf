"""
Run a study on a cluster
========================

Every task of a study has a seed of its own, so the results do not depend on where it is computed. Here a
small study runs on two Dask workers in this process. On a cluster only the address of the scheduler differs.
"""

import importlib.util
import tempfile
from pathlib import Path

import write_a_study

from phasescope import studies

# %%
# The study is that of :ref:`sphx_glr_gallery_write_a_study.py`, whose script lies beside this one. It goes by
# the name ``FILE.py:NAME``, under which each worker imports it; workers on other machines need the file at
# the same path. What computes stands under ``if __name__ == "__main__":``, because new processes may
# import this script again.

STUDY = f"{write_a_study.__file__}:STUDY"


def progress(event):
    if event.kind == "survey":
        print(f"{event.done} of {event.total} tasks are done")


def run(directory, **where):
    config = studies.study(STUDY).presets["quick"]
    return studies.run(STUDY, config, directory, listener=progress, **where)


# %%
# Without the extra ``cluster`` the study runs in two processes of its own.

if __name__ == "__main__":
    folder = tempfile.TemporaryDirectory()
    first, second = Path(folder.name, "first"), Path(folder.name, "second")
    if importlib.util.find_spec("distributed"):
        from distributed import LocalCluster

        with LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster:
            found = run(first, scheduler=cluster.scheduler_address)
    else:
        print("distributed is not installed (pip install 'phasescope[cluster]'): two processes instead")
        found = run(first, workers=2)
    for check in found.checks:
        print(f"{check.verdict}: {check.claim} {check.measured}, expected {check.expected:.4f}")

# %%
# The process that makes the call writes all files, so the workers need no common disk. A second call on the
# same folder finds all tasks done and computes nothing. After a run that was stopped, the same call computes
# the missing tasks.

if __name__ == "__main__":
    again = run(first)

# %%
# The same study in this process, in a folder of its own, gives the same bytes.

if __name__ == "__main__":
    run(second)
    same = (first / "results.nc").read_bytes() == (second / "results.nc").read_bytes()
    print("the same bytes" if same else "other bytes")
    folder.cleanup()

# %%
# The figure of the study.

if __name__ == "__main__":
    figure = again.pictures["drift"][0].figure
    figure
