"""Students as folders to take away: `export` writes and checks one, `load_student` reads it without any search code."""
