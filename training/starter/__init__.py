"""The recipe of the starter: a small target, one draft a topic, a pooled draft and a router, from open data.

Stages, each resumable: ``tokenizer`` -> ``target`` -> ``answers`` (the target writes the text that the
drafts learn from) -> ``drafts`` -> ``export``. `build` runs them in order.
"""
