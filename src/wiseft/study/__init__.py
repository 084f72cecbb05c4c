"""The reproduction of the paper: experiments of a clone, on top of the library."""
