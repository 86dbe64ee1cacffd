"""One command for the evidence: what is missing, in which order, and how far the time goes."""
