"""Kibana: saved objects (a data view, searches, a dashboard) to import under Stack Management."""
