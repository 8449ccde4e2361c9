"""What a Pilatus shows beside the attributes of every detector."""

from __future__ import annotations

from maxdaq_tango.tango_support.attributes import told


class PilatusAttributes:
    """Attributes of `PilatusDetector`; the functions get the device."""

    Energy = told(
        lambda self: self.driver_settings and self.driver_settings.energy_ev,
        lambda self, value: self.set_setting("Energy", lambda: self.driver.settings.set_energy(value)),
        dtype=float,
        label="Photon energy",
        unit="eV",
        format="%.0f",
        doc="Photon energy that the chips are trimmed for; setting it sets Threshold to half of it, which takes up to "
        "a minute and a half. Invalid until one has been set.",
    )
    Threshold = told(
        lambda self: self.driver_settings and self.driver_settings.threshold_ev,
        lambda self, value: self.set_setting("Threshold", lambda: self.driver.settings.set_threshold(value)),
        dtype=float,
        label="Energy threshold",
        unit="eV",
        format="%.0f",
        doc="Energy above which a photon counts. Setting it takes up to a minute and a half; one that would change by "
        "less than 1 eV is left alone. Invalid until one has been set.",
    )
    Gain = told(
        lambda self: self.driver_settings and self.driver_settings.gain,
        lambda self, value: self.set_setting("Gain", lambda: self.driver.settings.set_gain(value)),
        dtype=str,
        label="Gain",
        expert=True,
        doc="lowG, midG or highG of a Pilatus 2. Setting it trims the chips anew at the present threshold.",
    )
    HeaderString = told(
        lambda self: self.driver_settings and self.driver_settings.header_string,
        lambda self, value: self.set_setting("HeaderString", lambda: self.driver.settings.set_header_string(value)),
        dtype=str,
        label="Header string",
        doc="Remark for the header of every image file, 68 characters at most.",
    )
    MXSettings = told(
        lambda self: self.mx_text,
        lambda self, value: self.set_mx(value),
        dtype=str,
        label="MX settings",
        doc="For the headers of image files: a JSON object with camserver's words for crystallographers, such as "
        "Wavelength, Beam_xy, Start_angle. What is written is added to what was set before.",
    )
    ImagePath = told(
        lambda self: self.image_path,
        dtype=str,
        label="Image folder",
        doc="Where camserver puts image files, as it names the folder.",
    )
    Temperature = told(
        lambda self: self.family_values.get("Temperature"),
        dtype=float,
        label="Temperature",
        unit="degC",
        format="%.1f",
        doc="Highest of all channels; looked at every 10 s, and not while it exposes.",
    )
    Humidity = told(
        lambda self: self.family_values.get("Humidity"),
        dtype=float,
        label="Humidity",
        unit="%",
        format="%.1f",
        doc="Highest relative humidity of all channels; looked at every 10 s, and not while it exposes.",
    )
    FilesWaiting = told(
        lambda self: self.streamer_status and self.streamer_status.files_waiting,
        dtype=int,
        label="Files waiting",
        format="%d",
        doc="Image files of the series that the streamer has not sent yet. Invalid without a streamer of ours.",
    )
    FilesDeleted = told(
        lambda self: self.streamer_status and self.streamer_status.files_deleted,
        dtype=int,
        label="Files deleted",
        format="%d",
        doc="Image files that the streamer has deleted after they had left, since it was started.",
    )
    StreamerTrouble = told(
        lambda self: self.streamer_trouble,
        dtype=str,
        label="Streamer trouble",
        doc="Why the streamer cannot watch its folder, or the newest file that it could not read; empty when all is "
        "well.",
    )
    CamserverState = told(
        lambda self: self.camserver_state,
        dtype=str,
        label="camserver state",
        doc="What camserver is doing, in its own word or, while it exposes, in ours.",
    )
