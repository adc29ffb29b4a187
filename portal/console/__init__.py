"""The shell of the pages: navigation, dashboard, landing page."""
