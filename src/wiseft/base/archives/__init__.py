"""Members of archives that nobody vouches for, one after the other."""
