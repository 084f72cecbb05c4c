"""Reading of archives that nobody vouches for."""
