"""The target and the drafts on an accelerator: batched passes, verification where the logits are, captured graphs."""
