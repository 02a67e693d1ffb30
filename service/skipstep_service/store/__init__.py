"""Jobs in a database, and what they made in files."""
