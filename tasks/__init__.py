"""Define what the service offers: requests become jobs, and results responses."""
