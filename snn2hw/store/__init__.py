"""What is kept on disk: programs, runs and builds."""
