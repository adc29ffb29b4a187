"""Metering alarms: contradictions in reported usage, for operators, across all organizations."""
