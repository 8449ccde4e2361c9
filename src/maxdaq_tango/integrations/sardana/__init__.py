"""For Sardana: controllers for its Pool, a recorder and macros for its MacroServer.

Sardana finds plug-ins in folders that it is told: `CONTROLLERS` is for `pool_path`, `RECORDERS` for `recorder_path`,
`MACROS` for `macro_path`. `python -m maxdaq_tango.integrations.sardana` prints the three.

What is loaded there imports tango, numpy, h5py, hdf5plugin and `maxdaq_tango.errors`, and nothing else of ours: the
Python of Sardana needs no more of this package than its source on the path.
"""

from pathlib import Path

HERE = Path(__file__).resolve().parent
CONTROLLERS = HERE / "controllers"
RECORDERS = HERE / "recorders"
MACROS = HERE / "macros"
