"""What is sent to clients that asked to be told of a job's end."""
