"""Topics from traffic: how many drafts there should be, new topics, and drift.

::

    traffic      recorded answers with their queries, from a trace log, from prompts, from answers on disk
    partitions   a small draft for every cluster of the traffic, on equal total compute
    worth        what each further draft is worth, and how many are recommended
    discovery    all of it for K = 1, 2, ... drafts
    proposals    dense traffic that the router rejects: a proposal, and when to look
    accepting    a proposal becomes a topic: a draft, a router that knows it, both registered
    changing     a topic split in two, or two topics merged
    drift        whether queries or acceptance have changed, topic by topic
"""
