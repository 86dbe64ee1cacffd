"""The paper's tables and figures as runs that leave records (§3.3–3.6)."""
