"""What `training_data` does with files of rows: pure functions beneath the command."""
