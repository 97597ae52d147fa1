"""AcmeNet for hub."""
