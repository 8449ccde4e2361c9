"""What a file of ours is: where it may lie, how it is laid out, written, closed, accounted for and checked."""

from maxdaq_tango.files.block_file import BlockLayout
from maxdaq_tango.files.block_set import BlockSet, BlockStore
from maxdaq_tango.files.blocks import BlockedSeries
from maxdaq_tango.files.check import CheckResult, check_file
from maxdaq_tango.files.collisions import refuse_taken
from maxdaq_tango.files.columns import FrameTimes
from maxdaq_tango.files.homecoming import Homecoming, Survey, bring_all_home, bring_home, survey
from maxdaq_tango.files.manifest import Manifest, manifest_path, read_manifest, write_manifest
from maxdaq_tango.files.paths import Destination, resolve_destination
from maxdaq_tango.files.receipt import read_receipt
from maxdaq_tango.files.recovered import find_parts, recover_file, recover_found, recover_together
from maxdaq_tango.files.recovered_account import Recovered
from maxdaq_tango.files.recovery import recover_part
from maxdaq_tango.files.scan_master import write_scan_master
from maxdaq_tango.files.search import Search
from maxdaq_tango.files.spill import check_spill_directory
from maxdaq_tango.files.writer import SeriesFile

__all__ = [
    "BlockLayout",
    "BlockSet",
    "BlockStore",
    "BlockedSeries",
    "CheckResult",
    "Destination",
    "FrameTimes",
    "Homecoming",
    "Manifest",
    "Recovered",
    "Search",
    "SeriesFile",
    "Survey",
    "bring_all_home",
    "bring_home",
    "check_file",
    "check_spill_directory",
    "find_parts",
    "manifest_path",
    "read_manifest",
    "read_receipt",
    "recover_file",
    "recover_found",
    "recover_part",
    "recover_together",
    "refuse_taken",
    "resolve_destination",
    "survey",
    "write_manifest",
    "write_scan_master",
]
