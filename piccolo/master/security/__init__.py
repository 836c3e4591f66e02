"""Who is let in, with which certificate, and what is written down about it."""
