"""Filters, sorts and pages over a view of the documents."""
