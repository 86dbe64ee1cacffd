"""Training, scoring and keeping what came out (§3.2)."""
