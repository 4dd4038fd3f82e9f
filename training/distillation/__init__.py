"""One trainer for all drafts: examples from answers, traces or sampled text; a plan; a resumable job."""
