"""Mappings: one strict index template body per kind of document, as JSON that an operator can read and apply."""
