"""The gate by hand: any version against what serves, on requests that nobody has learned from.

held_out   which requests those are: recorded ones, or the target's answers to validation prompts
hearing    both drafts replayed on them, and the gate's verdict
record     the verdict where people look for it
"""
