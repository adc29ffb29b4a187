"""Generated from aerolith.proto by scripts/protobuf; never edit it."""
