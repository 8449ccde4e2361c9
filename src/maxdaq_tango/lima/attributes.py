"""The attributes of `LimaFacade`, by LImA's names, as one table. The functions get the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from maxdaq_tango.tango_support.attributes import told


def _set(name: str) -> Callable[[Any, Any], None]:
    return lambda self, value: setattr(self.settings, name, value)


def _choose(name: str, attribute: str) -> Callable[[Any, Any], None]:
    return lambda self, value: self.settings.choose(name, attribute, value)


def _part(name: str, attribute: str) -> Callable[[Any, Any], None]:
    return lambda self, value: self.settings.set_part(name, attribute, value)


class LimaAttributes:
    """Beside what is here, LImA has much that does not fit: region, binning and pixels are the detector device's."""

    acq_status = told(
        lambda self: self.acq_status_word,
        dtype=str,
        label="Acquisition status",
        doc="Ready, Running, Configuration or Fault. Ready also between prepareAcq and startAcq.",
    )
    acq_status_fault_error = told(
        lambda self: self.fault,
        dtype=str,
        label="Fault",
        doc="Why acq_status is Fault: what the device behind says of its last run, if that is not COMPLETE or ABORTED.",
    )
    acq_mode = told(
        lambda self: self.settings.mode,
        _choose("mode", "acq_mode"),
        dtype=str,
        label="Acquisition mode",
        doc="SINGLE, and nothing else.",
    )
    acq_trigger_mode = told(
        lambda self: self.settings.trigger_mode,
        _choose("trigger_mode", "acq_trigger_mode"),
        dtype=str,
        label="Trigger mode",
        doc="INTERNAL_TRIGGER, INTERNAL_TRIGGER_MULTI, EXTERNAL_TRIGGER, EXTERNAL_TRIGGER_MULTI or EXTERNAL_GATE.",
    )
    acq_nb_frames = told(
        lambda self: self.settings.frames,
        _set("frames"),
        dtype=int,
        label="Frames",
        format="%d",
        minimum=1,
        doc="Of the next acquisition.",
    )
    acq_expo_time = told(
        lambda self: self.settings.exposure_s,
        _set("exposure_s"),
        dtype=float,
        label="Exposure time",
        unit="s",
        format="%.6f",
        minimum=1e-9,
        doc="Of one frame.",
    )
    latency_time = told(
        lambda self: self.settings.latency_s,
        _set("latency_s"),
        dtype=float,
        label="Latency time",
        unit="s",
        format="%.6f",
        minimum=0.0,
        doc="Between two frames.",
    )
    ready_for_next_image = told(
        lambda self: self.is_ready_for_image,
        dtype=bool,
        label="Ready for the next image",
        doc="startAcq given now would start an exposure at once.",
    )
    ready_for_next_acq = told(
        lambda self: self.is_ready_for_acquisition,
        dtype=bool,
        label="Ready for the next acquisition",
        doc="prepareAcq can be given.",
    )
    last_image_acquired = told(
        lambda self: self.last_image("acquired"),
        dtype=int,
        label="Last image acquired",
        format="%d",
        doc="Number of the newest frame of the detector, from 0; -1 before the first one.",
    )
    last_base_image_ready = told(
        lambda self: self.last_image("received"),
        dtype=int,
        label="Last image received",
        format="%d",
        doc="As last_image_ready.",
    )
    last_image_ready = told(
        lambda self: self.last_image("received"),
        dtype=int,
        label="Last image ready",
        format="%d",
        doc="Number of the newest frame at the receiver, from 0; -1 before the first one.",
    )
    last_image_saved = told(
        lambda self: self.last_image("written") if self.settings.path else -1,
        dtype=int,
        label="Last image saved",
        format="%d",
        doc="Frames in the file, less one; -1 where none is written.",
    )
    saving_mode = told(
        lambda self: self.settings.saving_mode,
        _choose("saving_mode", "saving_mode"),
        dtype=str,
        label="Saving mode",
        doc="MANUAL: no file. AUTO_FRAME: all frames into one.",
    )
    saving_format = told(
        lambda self: self.settings.saving_format,
        _choose("saving_format", "saving_format"),
        dtype=str,
        label="Saving format",
        doc="HDF5 or HDF5BS, which are the same here: HDF5, packed as the receiver does it.",
    )
    saving_overwrite_policy = told(
        lambda self: self.settings.overwrite_policy,
        _choose("overwrite_policy", "saving_overwrite_policy"),
        dtype=str,
        label="Overwrite policy",
        doc="ABORT: an existing file refuses prepareAcq. OVERWRITE: it is moved aside.",
    )
    saving_directory = told(
        lambda self: self.settings.directory,
        lambda self, value: self.settings.set_directory(value),
        dtype=str,
        label="Saving directory",
        doc="Absolute path, under the receiver's Roots.",
    )
    saving_prefix = told(
        lambda self: self.settings.prefix,
        _part("prefix", "saving_prefix"),
        dtype=str,
        label="Saving prefix",
        doc="What file names begin with.",
    )
    saving_suffix = told(
        lambda self: self.settings.suffix,
        _part("suffix", "saving_suffix"),
        dtype=str,
        label="Saving suffix",
        doc="What file names end with: .h5",
    )
    saving_index_format = told(
        lambda self: self.settings.index_format,
        lambda self, value: self.settings.set_index_format(value),
        dtype=str,
        label="Index format",
        doc="Of the number in file names: %04d",
    )
    saving_next_number = told(
        lambda self: self.settings.next_number,
        _set("next_number"),
        dtype=int,
        label="Next number",
        format="%d",
        minimum=0,
        doc="In the name of the next file; one more after each file.",
    )
    saving_common_header = told(
        lambda self: [f"{name} = {value}" for name, value in self.settings.header.items()],
        lambda self, value: self.settings.set_header(list(value)),
        dtype=(str,),
        label="Common header",
        max_dim_x=1024,
        doc="name = value, one a line; stored in the file.",
    )
    saving_frame_per_file = told(
        lambda self: self.settings.frames,
        dtype=int,
        label="Frames per file",
        format="%d",
        doc="All of an acquisition: data files of a series are the receiver's matter (FramesPerFile).",
    )
    image_type = told(
        lambda self: self.image[0] if self.image else None,
        dtype=str,
        label="Image type",
        doc="Bpp8, Bpp16, Bpp16S ...: of the last file; not known before.",
    )
    image_width = told(
        lambda self: self.image[3] if self.image else None,
        dtype=int,
        label="Image width",
        format="%d",
        unit="pixel",
        doc="Of the last file; not known before.",
    )
    image_height = told(
        lambda self: self.image[4] if self.image else None,
        dtype=int,
        label="Image height",
        format="%d",
        unit="pixel",
        doc="Of the last file; not known before.",
    )
    image_sizes = told(
        lambda self: list(self.image[1:]) if self.image else None,
        dtype=(int,),
        label="Image sizes",
        format="%d",
        max_dim_x=4,
        doc="Signed (0 or 1), bytes of a pixel, width, height: of the last file; not known before.",
    )
    lima_type = told(lambda self: "maxdaq-tango", dtype=str, label="Kind of server", doc="maxdaq-tango.")
    camera_type = told(
        lambda self: self.Target.rsplit("/", 1)[-1], dtype=str, label="Camera", doc="Last part of the device behind."
    )
    user_detector_name = told(
        lambda self: self.Target.rsplit("/", 1)[-1], dtype=str, label="Detector", doc="Last part of the device behind."
    )
