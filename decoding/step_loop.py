"""The step loop: propose, verify, commit, for all running requests together."""
