"""What a job is: its states, what it is asked for with, and what is known of it while it runs."""
