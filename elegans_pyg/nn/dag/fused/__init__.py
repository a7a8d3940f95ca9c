"""Executor ``fused``: one compiled walk over the whole DAG per variant and channel."""
