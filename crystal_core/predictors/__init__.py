"""Methods that predict a property of a crystal; one folder per paper."""
