"""Every detector family in one table: adding one is adding a folder and a line here."""

from __future__ import annotations

from dataclasses import dataclass

from maxdaq_tango.errors import ConfigurationError


@dataclass(frozen=True)
class Family:
    """Where the parts of a detector family are. Modules by name: a family may need an optional package."""

    device_class: str
    """Tango class, and name of its server."""
    device_module: str
    driver: str
    """`module:class` that fulfils `detectors.contract.DetectorDriver`."""
    simulator_module: str
    """Prints one line of JSON with its addresses when it is ready."""
    simulated_pixels: str = "maxdaq_tango.detectors.simulation.pattern:pixels_of"
    """`module:function` that tells what a frame of the simulator looks like in a file; see `pixels_of`."""
    simulator_needs: str = ""
    """`module:function` that makes what this computer must have for the simulator, or raises ConfigurationError; "" =
    nothing."""
    streamer_module: str = ""
    """The same, for hardware that cannot stream by itself; "" = it can."""


FAMILIES: dict[str, Family] = {
    "eiger": Family(
        device_class="EigerDetector",
        device_module="maxdaq_tango.detectors.eiger.device",
        driver="maxdaq_tango.detectors.eiger.driver:EigerDriver",
        simulator_module="maxdaq_tango.detectors.eiger.simulator_server",
    ),
    "jungfrau": Family(
        device_class="JungfrauDetector",
        device_module="maxdaq_tango.detectors.jungfrau.device",
        driver="maxdaq_tango.detectors.jungfrau.driver:JungfrauDriver",
        simulator_module="maxdaq_tango.detectors.jungfrau.simulator_server",
        simulated_pixels="maxdaq_tango.detectors.jungfrau.simulator_pixels:pixels_of",
    ),
    "pilatus": Family(
        device_class="PilatusDetector",
        device_module="maxdaq_tango.detectors.pilatus.device",
        driver="maxdaq_tango.detectors.pilatus.driver:PilatusDriver",
        simulator_module="maxdaq_tango.detectors.pilatus.simulator_server",
        streamer_module="maxdaq_tango.detectors.pilatus.streamer",
    ),
    "lambda": Family(
        device_class="LambdaDetector",
        device_module="maxdaq_tango.detectors.xspectrum_lambda.device",
        driver="maxdaq_tango.detectors.xspectrum_lambda.driver:LambdaDriver",
        simulator_module="maxdaq_tango.detectors.xspectrum_lambda.simulator_server",
        simulated_pixels="maxdaq_tango.detectors.xspectrum_lambda.simulator:simulated_pixels",
        streamer_module="maxdaq_tango.detectors.xspectrum_lambda.streamer",
    ),
    "orca": Family(
        device_class="OrcaDetector",
        device_module="maxdaq_tango.detectors.orca.device",
        driver="maxdaq_tango.detectors.orca.driver:OrcaDriver",
        simulator_module="maxdaq_tango.detectors.orca.simulator_server",
        simulated_pixels="maxdaq_tango.detectors.orca.simulator:pixels_of",
        simulator_needs="maxdaq_tango.detectors.orca.simulated_library:compiled_library",
        streamer_module="maxdaq_tango.detectors.orca.streamer",
    ),
}


def family(name: str) -> Family:
    """By name; an unknown one is a ConfigurationError with the names there are."""
    try:
        return FAMILIES[name]
    except KeyError:
        raise ConfigurationError(f"find detector family '{name}'", accepted=", ".join(sorted(FAMILIES))) from None
