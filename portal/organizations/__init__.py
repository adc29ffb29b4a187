"""Organizations (the tenants) and who belongs to them."""
