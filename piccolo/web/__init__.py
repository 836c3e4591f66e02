"""What is served to whoever asks: HTTPS. So far to machines that are to become nodes."""
