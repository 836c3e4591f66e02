"""What there is: tables, details, and what is wrong."""
