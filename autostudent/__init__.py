"""autostudent searches small student networks together with the recipe that teaches them."""
