"""The deterministic state machine that consensus executes."""
