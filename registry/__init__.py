"""Versions of drafts and routers in MLflow: the only room that imports it, and only once it is asked."""
