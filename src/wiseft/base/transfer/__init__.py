"""Files from servers: mirrors, resumption, retries and sums."""
