"""Bulk: actions on many executions as tracked jobs, carried out by the indexers, one page after another."""
