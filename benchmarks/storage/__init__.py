"""The files of a run: the rows of its store and the JSON files of its folder, checked as they are read."""
