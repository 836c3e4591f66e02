"""What is to run: applying, changing, taking back, and waiting until it is so."""
