"""Papers, each reproduced as a study: a list of parts."""
