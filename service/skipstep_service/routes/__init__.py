"""The API: thin translations into calls of the job service and the prompt model."""
