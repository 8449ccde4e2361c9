"""Streamers: programs beside hardware that cannot stream by itself. They push STINS and are told what to do over HTTP.

    driver (of the device) -- StreamerLink -- HTTP -- StreamerControl -- streamer -- StinsSeries -- receiver

A streamer has one PUSH socket (the Lambda's one for each module) and a control on another port. What its commands are
is the family's matter.
"""
