"""PSI Jungfrau: driver over slsdet, device, simulated detector and receiver program, pedestals."""
