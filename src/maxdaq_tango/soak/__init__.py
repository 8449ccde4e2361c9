"""The soak: random acquisitions with random faults on the whole stack, each compared with the account of its sender.

recipe ─> conductor ─> acquisition on a site ─> evidence ─> judgement ─> results
             └─> processes sampled ─> trend
"""
