"""Who teaches: frozen teachers, the ladder of assistants, what they say of the view bank, and facts about them."""
