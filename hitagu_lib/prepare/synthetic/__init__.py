"""The data sets that the book draws itself."""
