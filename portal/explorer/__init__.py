"""Explorer: a cluster's collections and documents in the browser, with import and export."""
