"""Small stories in which every message is placed by hand, each the proof of one rule."""
