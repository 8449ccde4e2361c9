"""A facade in the words of LImA's Tango device, for clients that know nothing else: BLISS, LimaCCD controllers, lavue.

It owns nothing: a DAQController or a detector device does the work, under its own name and for its own clients as well.
"""
