"""What keeps one failure from becoming everybody's: breakers, bounds on memory and on requests under way, retries."""
