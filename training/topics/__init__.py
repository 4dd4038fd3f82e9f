"""Topics from traffic: how many drafts there should be, new topics, and drift.

::

    sources      where traffic comes from: traces, prompts, answers on disk
    traffic      recorded answers with their queries, from a trace log, from prompts, from answers on disk
    partitions   a small draft for every cluster of the traffic, on equal total compute
    worth        what each further draft is worth, and how many are recommended
    discovery    all of it for K = 1, 2, ... drafts
    proposals    dense traffic that the router rejects: a proposal, and when to look
    lookout      the look that `polydraft learn` takes now and then
    accepting    what changes: a proposal accepted, a topic split in two, two topics merged
    changing     drafts and router of changed topics, made, compared, registered, promoted
    drift        whether queries or acceptance have changed, topic by topic
"""
