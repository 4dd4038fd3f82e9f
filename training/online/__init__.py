"""Drafts that go on learning while they serve: a process of its own that follows the trace log.

::

    split      which prompts are held out for the gate, for good
    log        the traces of one target, by topic and place in the log
    lesson     what one update learns from, and how
    learner    all of it for one topic in memory, for experiments
    trial      a candidate against the champion, replayed on held-out traces
    load       how busy the server is, and a pause between two steps while it is
    state      what survives a kill
    publish    versions, runs and verdicts in the registry
    pictures   what the gate saw
    subject    one topic's draft as the next three see it
    making     from a job to a registered candidate
    judging    the gate looks at the candidate
    update     one topic's update from the log to the verdict, resumable at any point
    follow     all topics, until somebody says stop
"""
