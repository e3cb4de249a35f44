"""Pictures that the environment draws itself, without matplotlib."""
