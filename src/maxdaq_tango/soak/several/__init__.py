"""The soak of several simulated detectors under one DAQController: does any device get stuck, is any verdict wrong?

recipe ─> acquisition on a site, with what a tricky client and a bad day do to it ─> judgement
"""
