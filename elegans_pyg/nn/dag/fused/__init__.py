"""Executor ``fused``: the whole DAG in one walk per variant and channel."""
