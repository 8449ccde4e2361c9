"""How fast the way from socket to file is on this machine, next to what the machine could do at most.

One process sends; one contestant at a time receives: our engine, the floors (what nobody can do faster), and the plain
way (what people write first). All get the same bytes over the same kind of socket in the same run, turn by turn.

    plan.py       what is measured, in which order                     (pure)
    results.py    medians, spreads, ratios, targets                    (pure)
    payload.py    the frames, made once and shared by all processes
    sender.py, floors.py, plain.py, ours.py, contestant.py             what runs in processes of its own
    talk.py       what those processes and the conductor say to each other
    child.py, usage.py, disk.py, throttle.py, conductor.py             starting, measuring, tidying up
    report.py, plot.py                                                 tables and a picture
"""
