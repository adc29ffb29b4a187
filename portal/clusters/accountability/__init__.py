"""Evidence that nodes lied: fetched from nodes, checked here, shown and handed out."""
